/** The gateway's sessions, by its rules for refresh tokens. Time is the gateway's own, in milliseconds. */

import { randomBytes } from 'node:crypto';

export class Sessions {
    #records = new Map();
    #clock;
    #rules;

    /** `leeway` and `lifetime` in seconds. */
    constructor(rules, clock) {
        this.#rules = rules;
        this.#clock = clock;
    }

    create(subject) {
        const record = {
            id: randomBytes(16).toString('base64url'),
            subject,
            createdAt: this.#clock(),
            usedAt: this.#clock(),
            current: 1,
            parent: 0,
            isAcknowledged: false,
            rotatedAt: undefined,
            endedBy: undefined,
            /** Access tokens that were issued before are not accepted any more. */
            validFrom: 0,
        };
        this.#records.set(record.id, record);
        return record;
    }

    all() {
        return [...this.#records.values()];
    }

    /** `undefined`: the user has to log in again. */
    refresh(token) {
        const { record, generation, parent } = this.#read(token);
        if (!record || record.endedBy) return undefined;
        record.usedAt = this.#clock();
        if (!this.#rules.rotation) return record;
        const age = record.rotatedAt === undefined ? Infinity : this.#clock() - record.rotatedAt;
        const leeway = this.#rules.leeway * 1000;
        const lacksCurrent = generation === record.parent && !record.isAcknowledged;
        if (age < leeway && generation >= record.parent) {
            if (lacksCurrent && age >= leeway / 3) record.rotatedAt = this.#clock();
            return record;
        }
        if (generation === record.current || lacksCurrent) {
            Object.assign(record, {
                parent: generation,
                current: record.current + 1,
                isAcknowledged: false,
                rotatedAt: this.#clock(),
            });
            return record;
        }
        record.endedBy = 'reuse';
        return undefined;
    }

    /** The session whose token is accepted, or the code of the refusal. */
    admit(accessToken) {
        const claims = claimsOf(accessToken);
        const record = this.#records.get(claims?.sid);
        if (!record) return { code: 'token_invalid' };
        if (record.endedBy) return { record, code: 'token_revoked' };
        if (claims.exp * 1000 <= this.#clock() || this.#serials.get(claims.jti) < record.validFrom)
            return { record, code: 'token_expired' };
        if (claims.gen === record.current) record.isAcknowledged = true;
        return { record };
    }

    /** The session that a token of either kind belongs to. */
    find(accessToken, refreshToken) {
        return this.#records.get(claimsOf(accessToken)?.sid) ?? this.#read(refreshToken).record;
    }

    pair(record) {
        return {
            accessToken: this.#accessToken(record),
            ...(this.#rules.rotation && { refreshToken: this.#refreshToken(record) }),
            tokenType: 'Bearer',
            expiresIn: this.#rules.lifetime,
            generation: record.current,
        };
    }

    /** The pair of a login, which has a refresh token in any case. */
    firstPair(record) {
        const { accessToken, ...rest } = this.pair(record);
        return { accessToken, refreshToken: this.#refreshToken(record), ...rest };
    }

    /** No access token that was issued so far is accepted any more, as after a change of keys. */
    expireAccessTokens() {
        for (const record of this.#records.values()) record.validFrom = this.#serial + 1;
    }

    #serial = 0;
    /** By the id of the access token, in the order of their issue. */
    #serials = new Map();

    #accessToken(record) {
        const now = Math.floor(this.#clock() / 1000);
        const header = { typ: 'at+jwt', alg: 'ES256', kid: 'scripted' };
        const claims = {
            iss: 'tokengate',
            sub: record.subject,
            aud: 'tokengate',
            exp: now + this.#rules.lifetime,
            iat: now,
            jti: randomBytes(16).toString('base64url'),
            sid: record.id,
            gen: record.current,
            auth_time: Math.floor(record.createdAt / 1000),
        };
        this.#serials.set(claims.jti, ++this.#serial);
        const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
        return `${part(header)}.${part(claims)}.${randomBytes(64).toString('base64url')}`;
    }

    #refreshToken({ id, current, parent }) {
        return `tgr_${Buffer.from(JSON.stringify([id, current, parent])).toString('base64url')}`;
    }

    #read(token) {
        try {
            const [id, generation, parent] = JSON.parse(Buffer.from(/^tgr_(.+)$/.exec(token)[1], 'base64url').toString());
            return { record: this.#records.get(id), generation, parent };
        } catch {
            return {};
        }
    }
}

/** What a token claims. Its signature is random and nobody checks it: whoever is tested makes no tokens. */
export function claimsOf(token) {
    try {
        return JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString());
    } catch {
        return undefined;
    }
}
