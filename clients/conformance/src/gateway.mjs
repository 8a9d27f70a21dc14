/** A gateway that follows a script: the real one's rules, and faults where a scenario wants them. */

import { createServer } from 'node:http';

import { json, oauthForm, problem } from './problems.mjs';
import { Sessions } from './sessions.mjs';

/** In the place of a response: the connection is closed. */
export const DROP = Symbol('drop');
/** In the place of a response: nothing, for as long as the client waits. */
export const SILENCE = Symbol('silence');

export const USER = { email: 'ada@example.com', password: 'correct horse battery' };
/** Seconds. Short enough to wait for a third of it, long enough for a busy machine. */
export const LEEWAY = 9;

export class Gateway {
    #server = createServer((request, response) => void this.#serve(request, response));
    #faults = new Map();
    #waiting = [];
    /** How far the gateway's clock is from that of this machine, in milliseconds. */
    #offset = 0;
    /** Every request, in the order of arrival: `{ at, method, path, authorization, body, status }`. */
    calls = [];

    constructor({ lifetime = 900, leeway = LEEWAY, rotation = true, offset = 0 } = {}) {
        this.#offset = offset * 1000;
        this.sessions = new Sessions({ lifetime, leeway, rotation }, () => Date.now() + this.#offset);
    }

    async start() {
        await new Promise((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
        this.url = `http://127.0.0.1:${this.#server.address().port}`;
        return this;
    }

    stop() {
        this.#server.closeAllConnections();
        return new Promise((resolve) => this.#server.close(resolve));
    }

    /** Lets time pass for sessions: their leeways, and nothing else, unless it is longer than the tokens live. */
    pass(seconds) {
        this.#offset += seconds * 1000;
    }

    /**
     * Calls to `path` meet the fault, the next `times` of them: a function of the call that gives a response, `DROP` or `SILENCE`.
     * `call.carryOut()` does what the gateway would do, and gives its response.
     */
    fault(path, fault, times = Infinity) {
        this.#faults.set(path, { fault, left: times });
    }

    heal(path) {
        this.#faults.delete(path);
    }

    callsTo(path) {
        return this.calls.filter((call) => call.path === path);
    }

    refreshes() {
        return this.callsTo('/refresh');
    }

    /** Waits for a call to `path` that is not there yet; `undefined` when none comes. */
    arrival(path, milliseconds) {
        return new Promise((resolve) => {
            const late = setTimeout(resolve, milliseconds);
            this.#waiting.push((call) => {
                if (call.path !== path) return false;
                clearTimeout(late);
                resolve(call);
                return true;
            });
        });
    }

    async #serve(request, response) {
        const chunks = [];
        try {
            for await (const chunk of request) chunks.push(chunk);
        } catch {
            return;
        }
        const [path] = request.url.split('?');
        const text = Buffer.concat(chunks).toString();
        const call = {
            at: performance.now(),
            method: request.method,
            path,
            authorization: request.headers.authorization,
            contentType: request.headers['content-type'] ?? '',
            body: text,
            status: undefined,
            isOver: false,
        };
        call.ended = new Promise((resolve) => response.on('close', resolve)).then(() => (call.isOver = true));
        call.carryOut = () => this.#respond(call);
        this.calls.push(call);
        this.#waiting = this.#waiting.filter((hears) => !hears(call));
        const outcome = await this.#outcome(call);
        if (outcome === SILENCE) return;
        if (outcome === DROP) return void request.socket.destroy();
        call.status = outcome.status;
        const { status, headers, body } = outcome;
        const bytes = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
        const date = new Date(Date.now() + this.#offset).toUTCString();
        response.writeHead(status, { ...headers, date, 'content-length': bytes.length }).end(bytes);
    }

    #outcome(call) {
        const scripted = this.#faults.get(call.path);
        if (!scripted || scripted.left <= 0) return call.carryOut();
        scripted.left--;
        return scripted.fault(call);
    }

    #respond(call) {
        switch (`${call.method} ${call.path}`) {
            case 'POST /login':
                return this.#logIn(call);
            case 'POST /refresh':
                return this.#refresh(call);
            case 'POST /logout':
                return this.#logOut(call);
        }
        return call.path.startsWith('/api/') ? this.#api(call) : problem('route_not_found');
    }

    #logIn(call) {
        const { email, password } = objectOf(call.body);
        // The API's own word, which passes unchanged.
        if (password !== USER.password) return json(401, { error: 'wrong credentials' });
        const record = this.sessions.create(email);
        return json(200, { user: { id: email }, ...this.sessions.firstPair(record) });
    }

    #refresh(call) {
        const isForm = call.contentType.startsWith('application/x-www-form-urlencoded');
        const token = isForm ? new URLSearchParams(call.body).get('refresh_token') : objectOf(call.body).refreshToken;
        if (!token) return isForm ? oauthForm(problem('refresh_token_missing')) : problem('refresh_token_missing');
        const record = this.sessions.refresh(token);
        const response = record ? json(200, this.sessions.pair(record)) : problem('refresh_token_invalid');
        if (!isForm) return response;
        return oauthForm(record ? { ...response, body: oauthNames(response.body) } : response);
    }

    #logOut(call) {
        const { refreshToken, scope = 'session' } = objectOf(call.body);
        if (!['session', 'others', 'all'].includes(scope)) return problem('request_malformed');
        const record = this.sessions.find(bearer(call), refreshToken);
        if (!record || record.endedBy) return json(200, { ended: 0 });
        const covers = { session: (one) => one === record, others: (one) => one !== record, all: () => true }[scope];
        const ended = this.sessions.all().filter((one) => one.subject === record.subject && !one.endedBy && covers(one));
        for (const one of ended) one.endedBy = 'logout';
        return json(200, { ended: ended.length });
    }

    #api(call) {
        if (!call.authorization) return problem('token_missing');
        const { record, code } = this.sessions.admit(bearer(call));
        if (code) return problem(code);
        return json(200, { subject: record.subject, method: call.method, body: call.body });
    }
}

function bearer({ authorization }) {
    return /^Bearer (.+)$/i.exec(authorization ?? '')?.[1];
}

function objectOf(text) {
    try {
        return Object(JSON.parse(text));
    } catch {
        return {};
    }
}

function oauthNames({ accessToken, tokenType, expiresIn, refreshToken, generation }) {
    return {
        access_token: accessToken,
        token_type: tokenType,
        expires_in: expiresIn,
        ...(refreshToken && { refresh_token: refreshToken }),
        generation,
    };
}
