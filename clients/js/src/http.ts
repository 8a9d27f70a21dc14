/** What requests and responses mean to a session. */

/** Whether a request of that method changes nothing (RFC 9110, section 9.2.1). */
export function isSafe(method = 'GET'): boolean {
    return /^(get|head|options)$/i.test(method);
}

/** Whether the response says that the access token is worth nothing, so that a new one might help. */
export async function refusesToken(response: Response, tokensAreCookies: boolean): Promise<boolean> {
    if (response.status !== 401) return false;
    const challenge = response.headers.get('www-authenticate');
    // From another origin the field shows only where the gateway exposes it; the body says the same.
    const { error, code } =
        challenge === null
            ? await jsonOf(response.clone())
            : { error: /\berror="?(\w+)/i.exec(challenge)?.[1], code: /^bearer\b/i.test(challenge) && 'token_missing' };
    // The browser drops a cookie that has run out: then no token came along at all.
    return error === 'invalid_token' || (tokensAreCookies && !error && code === 'token_missing');
}

/** The body's JSON object; an empty one when it is none. */
export function jsonOf(response: Response): Promise<Record<string, unknown>> {
    return response.json().then(Object, () => ({}));
}

/** Seconds that `Retry-After` asks for (RFC 9110, section 10.2.3), in seconds or as a date. */
export function retryAfterOf(response: Response, wall: number): number | undefined {
    const text = response.headers.get('retry-after') ?? '';
    const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - wall) / 1000;
    return seconds >= 0 ? seconds : undefined;
}

/** Waits for `work`, but no longer than the signal allows. */
export function orAborted<T>(work: Promise<T>, signal: AbortSignal | null | undefined): Promise<T> {
    if (!signal) return work;
    return new Promise((resolve, reject) => {
        const abort = () => reject(signal.reason);
        if (signal.aborted) abort();
        signal.addEventListener('abort', abort, { once: true });
        work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
    });
}
