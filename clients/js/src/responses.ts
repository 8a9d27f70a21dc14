/** What the gateway's responses say about a session. */

import type { Session } from './entry.js';
import { TokengateError } from './errors.js';
import { jsonOf, retryAfterOf } from './http.js';
import type { Members } from './options.js';
import type { Platform } from './platform.js';

export interface Reading {
    /** Those that are called otherwise. */
    readonly members: Partial<Members> | undefined;
    readonly platform: Platform;
    /** Tokens are in cookies, and must not be kept anywhere else. */
    readonly cookies: boolean;
}

/** The JSON of a response. */
type Body = Record<string, unknown>;

/** The session that a response grants; `undefined` when it grants none. */
export function sessionOf(body: Body, previous: Session | undefined, user: unknown, reading: Reading): Session | undefined {
    const { members, platform, cookies } = reading;
    const member = (name: keyof Members) => body[members?.[name] ?? name];
    const [accessToken, refreshToken, expiresIn, generation] = [
        // The API's own token, where the gateway leaves its response as it is.
        member('accessToken') ?? body.token,
        // Without rotation, the refresh token stays and is not sent again.
        member('refreshToken') ?? previous?.refreshToken,
        member('expiresIn'),
        member('generation') ?? (previous?.generation ?? 0) + 1,
    ] as [string | undefined, string | undefined, number | undefined, number];
    if (!(accessToken || (cookies && expiresIn))) return undefined;
    const tokens = cookies ? {} : { accessToken, refreshToken };
    return { generation, renewal: (previous?.renewal ?? -1) + 1, ...tokens, expiresIn, receivedAt: platform.wall(), user };
}

/**
 * What a response of `/refresh` means: the session goes on, or (`undefined`) there is no such session any more.
 *
 * @throws Anything but a definite yes or no says nothing about the session: proxies and captive portals respond too.
 */
export async function renewedBy(response: Response, previous: Session, reading: Reading): Promise<Session | undefined> {
    const body = await jsonOf(response);
    // By the gateway's own word: a proxy before it responds with 401 too.
    const { status } = response;
    if ((status === 401 && /^refresh_token_/.test(body.code as string)) || (status === 400 && body.error === 'invalid_grant'))
        return undefined;
    const session = sessionOf(body, previous, previous.user, reading);
    if (response.ok && session) return session;
    throw refusalOf(response, body, reading);
}

/** A response that refuses, as an error. */
export function refusalOf(response: Response, problem: Body, { platform }: Reading): TokengateError {
    const { status } = response;
    const message = String(problem.detail ?? problem.message ?? problem.error ?? status);
    return new TokengateError('refused', message, { status, problem, retryAfter: retryAfterOf(response, platform.wall()) });
}
