/** A user's calls from a server that renders for them: their browser's cookies go along, and new ones go back to it. */

import { isSafe, refusesToken } from './http.js';
import { pathOf } from './options.js';

export interface ServerClientOptions {
    /** Where the gateway is, as the server reaches it. */
    baseUrl: string | URL;
    /** The field `Cookie` of the browser's request. */
    cookie: string | null | undefined;
    /** Fields for every call to the gateway, such as `x-forwarded-for` where it trusts this server. */
    headers?: HeadersInit;
    /** Whether cookies can still be set at the browser. `false`: nothing is refreshed, and a 401 is the response. `true`. */
    canSetCookies?: boolean;
    /** Where the gateway refreshes. `"/refresh"`. */
    refreshPath?: string;
    /** The field that the gateway takes as a sign that no other site made the call. `"x-csrf"`. */
    csrfHeader?: string;
    /** Seconds after which a refresh is given up: a third of the gateway's `refresh.leeway`. 10. */
    refreshTimeout?: number;
}

export interface ServerClient {
    /**
     * The platform's `fetch`, with the browser's cookies for the gateway. A request whose token is refused is sent once more after a
     * refresh, which all such requests share.
     */
    fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
    /**
     * What the browser must be told, one `Set-Cookie` field each. After a refresh these have to reach it: the token that it holds is
     * used up, and the session ends when it is sent again after the gateway's leeway.
     */
    setCookies(): readonly string[];
}

/** Make one for each request of a browser. */
export function serverClient({
    baseUrl,
    cookie,
    headers: always,
    canSetCookies = true,
    refreshPath = pathOf('refresh'),
    csrfHeader = 'x-csrf',
    refreshTimeout = 10,
}: ServerClientOptions): ServerClient {
    const base = new URL(baseUrl);
    // As a list: of two cookies with one name the gateway takes none, and must see both.
    let cookies = (cookie ?? '').split(/;\s*/).filter(Boolean);
    const told = new Map<string, string>();
    let refresh: Promise<boolean> | undefined;

    async function send(input: RequestInfo | URL, init: RequestInit, own?: HeadersInit): Promise<Response> {
        const headers = new Headers(own);
        new Headers(always).forEach((value, name) => headers.set(name, value));
        if (cookies.length) headers.set('cookie', cookies.join('; '));
        if (!isSafe(init.method ?? (input instanceof Request ? input.method : undefined))) headers.set(csrfHeader, '1');
        const response = await globalThis.fetch(input, { ...init, headers });
        take(response.headers.getSetCookie());
        return response;
    }

    /** What is set holds for the next call too. */
    function take(lines: string[]) {
        for (const line of lines) told.set(placeOf(line), line);
        const without = (name: string) => cookies.filter((pair) => nameOf(pair) !== name);
        // First those that are taken away: they may be of the same name, and of another place.
        for (const line of lines.filter(isTakenAway)) cookies = without(nameOf(line));
        for (const line of lines.filter((line) => !isTakenAway(line)))
            cookies = [...without(nameOf(line)), line.split(';', 1)[0]!.trim()];
    }

    /** Whether there is a new token. One attempt for each client: it lives no longer than a page is rendered. */
    function refreshed(): Promise<boolean> {
        const init: RequestInit = { method: 'POST', redirect: 'error', signal: AbortSignal.timeout(refreshTimeout * 1000) };
        return (refresh ??= send(new URL(refreshPath, base), init).then(
            ({ ok }) => ok,
            () => false,
        ));
    }

    async function fetch(input: RequestInfo | URL, init: RequestInit = {}): Promise<Response> {
        const request = input instanceof Request ? input : undefined;
        const target = new URL(request ? request.url : String(input), base);
        const own = init.headers ?? request?.headers;
        if (target.origin !== base.origin) return globalThis.fetch(request ?? target, init);
        const spare = init.body === undefined ? request?.clone() : request;
        const response = await send(request ?? target, init, own);
        const canRepeat = canSetCookies && cookies.length > 0 && !(init.body instanceof ReadableStream);
        if (!canRepeat || !(await refusesToken(response, true)) || !(await refreshed())) return response;
        void response.body?.cancel();
        return send(spare ?? target, init, own);
    }

    return { fetch, setCookies: () => [...told.values()] };
}

function nameOf(cookie: string): string {
    return cookie.split('=', 1)[0]!.trim();
}

/** What tells a cookie from others at the browser: name, domain and path. */
function placeOf(line: string): string {
    return [nameOf(line), ...line.split(';').filter((part) => /^\s*(?:domain|path)=/i.test(part))].join(';').toLowerCase();
}

function isTakenAway(line: string): boolean {
    return /;\s*max-age=0\s*(?:;|$)/i.test(line);
}
