/** The client: what an application calls. */

import { type Reading, refusalOf, renewedBy, sessionOf } from './responses.js';
import { type Entry, NOTHING, type Session, compare, isKnown, isSameLogin, ofOldToken } from './entry.js';
import { TokengateError } from './errors.js';
import type { ClientEvent } from './events.js';
import { isSafe, jsonOf, refusesToken } from './http.js';
import { oldToken } from './old_token.js';
import { type ClientOptions, type Endpoints, pathOf, timingOf } from './options.js';
import { type Platform, browser, pause } from './platform.js';
import { refresher } from './refresher.js';
import { storageOf } from './storage.js';
import { type Source, tabs as tabsOf } from './tabs.js';

export type { ClientOptions } from './options.js';

export type Status = 'unknown' | 'signed-out' | 'signed-in';

/** The same object until something changes. */
export interface State {
    readonly status: Status;
    /** As in the login's response; `null` when nobody is signed in, or nothing is known of them. */
    readonly user: unknown;
}

export type LogoutScope = 'session' | 'others' | 'all';

export interface LoginOptions {
    /** Where to, instead of the endpoint's own path. */
    path?: string;
    headers?: HeadersInit;
    signal?: AbortSignal;
}

export interface AccessTokenOptions {
    /** A token that was refused: wait for another one. */
    refused?: string;
    signal?: AbortSignal;
}

/** One session of the user, as `/sessions` tells. */
export interface Device {
    id: string;
    createdAt: string;
    lastUsedAt: string;
    /** Should it not be refreshed again. */
    expiresAt: string;
    address?: string;
    userAgent?: string;
    /** Whether it is the one that asks. */
    current: boolean;
}

export interface Client {
    /**
     * Sends credentials to `/login`; objects as JSON, all else as `fetch` takes it. Gives the API's response.
     *
     * @throws {TokengateError} `refused`, when the response refuses.
     */
    login<Body = Record<string, unknown>>(body: unknown, options?: LoginOptions): Promise<Body>;
    /** The same at `/register`. */
    register<Body = Record<string, unknown>>(body: unknown, options?: LoginOptions): Promise<Body>;
    /** The same at `/quick-register`. */
    quickRegister<Body = Record<string, unknown>>(body: unknown, options?: LoginOptions): Promise<Body>;
    /**
     * Ends this session (default), the user's other ones, or all. This browser is signed out at once, whatever the network does.
     *
     * @throws {TokengateError} `logout_unconfirmed`: the gateway could not be told; calling again tries again.
     */
    logout(scope?: LogoutScope): Promise<{ ended: number }>;
    /** The user's sessions on all devices, newest first. */
    sessions(): Promise<Device[]>;
    /** Ends one of them. */
    endSession(id: string): Promise<void>;
    /**
     * The platform's `fetch`, with the access token for the gateway's origin and the listed ones. A request whose token is refused is
     * sent once more with a new one.
     *
     * @throws {TokengateError} `refresh_unavailable`: the token has to be refreshed, and that cannot be done right now.
     */
    fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
    /** A live access token, for other HTTP clients; `undefined` when nobody is signed in, and in cookie mode. */
    accessToken(options?: AccessTokenOptions): Promise<string | undefined>;
    state(): State;
    /** Calls after every change of `state()`; gives what ends that. Wakes a client that was disposed of. */
    subscribe(listener: () => void): () => void;
    /** Milliseconds until the next planned refresh; infinite when none is planned. */
    refreshIn(): number;
    /** Ends timers, listeners and what is under way. The session lives on. */
    dispose(): void;
}

const UNKNOWN: State = { status: 'unknown', user: null };
const SIGNED_OUT: State = { status: 'signed-out', user: null };
const LOGOUT_ATTEMPTS_MAX = 3;
const LOGOUT_PAUSE = 500;
/** A list that is longer is not asked for to its end. */
const DEVICES_MAX = 5000;

export function createClient(options: ClientOptions = {}): Client {
    return connect(options, browser());
}

/** @internal */
export function connect(options: ClientOptions, platform: Platform): Client {
    const { key = 'tokengate', csrfHeader = 'x-csrf', onEvent, user: userOf = (body) => body.user ?? null } = options;
    const base = new URL(options.baseUrl ?? '/', platform.origin ?? 'http://localhost');
    const origins = new Set([base, ...(options.origins ?? [])].map((url) => new URL(url).origin));
    const endpoint = (name: keyof Endpoints) => options.endpoints?.[name] ?? pathOf(name);
    const kind = options.storage ?? 'localStorage';
    const storage = typeof kind === 'string' ? storageOf(kind, key) : kind;
    const cookies = !!storage.cookies;
    const reading: Reading = { members: options.members, platform, cookies };
    const old = oldToken(options.oldTokenKey ?? 'authToken');
    const timing = timingOf(options);
    const listeners = new Set<() => void>();
    let state = UNKNOWN;
    let present = NOTHING;
    /** Ended here, and not yet confirmed by the gateway. */
    let unconfirmed: Entry | undefined;
    let stopListening: (() => void) | undefined;

    const tabs = tabsOf(platform, storage, changed);
    const refreshes = refresher({
        platform,
        storage,
        tabs,
        timing,
        attempt: renewed,
        decided(start, session) {
            if (isKnown(start) ? !session : session) begin(session);
            else if (session) tabs.commit({ ...start, session });
            else {
                // What older code left is worth nothing. Another tab may have exchanged it: no word to others.
                old.remove();
                tabs.assume({ epoch: start.epoch, id: start.id });
            }
        },
        report,
    });

    function report(event: ClientEvent) {
        // Later, when whoever made the client has it: some things happen while it is made.
        queueMicrotask(() => onEvent?.(event));
    }

    function changed(source: Source) {
        const [former, entry] = [present, tabs.current()];
        present = entry;
        const generation = entry.session?.generation ?? 0;
        // What is asked for a login that is over must not set a cookie over that of the next one.
        if (!isSameLogin(former, entry)) refreshes.abort();
        else if (source === 'other' && generation > (former.session?.generation ?? generation))
            report({ type: 'adopted', generation });
        refreshes.changed(source);
        const before = state;
        state = stateOf(entry, state);
        if (state === before) return;
        if (state.status !== before.status && state.status !== 'unknown') report({ type: state.status, source });
        // One that fails is a fault of its own, and stops nothing here.
        for (const listener of listeners) queueMicrotask(listener);
    }

    function start() {
        if (stopListening || storage.isBlind) return;
        stopListening = platform.onWake((isOnline) => (isOnline ? refreshes.online() : refreshes.check()));
        refreshes.start();
        tabs.open();
        const token = tabs.current().session ? undefined : old.read();
        if (token !== undefined) tabs.assume(ofOldToken(tabs.current(), token));
        // Nothing was found: that is known now.
        changed('other');
        refreshes.check();
    }

    /** A new login, or without a session a logout. */
    function begin(session?: Session) {
        old.remove();
        tabs.sync();
        tabs.commit({ epoch: tabs.current().epoch + 1, id: platform.random().toString(36), ...(session && { session }) });
    }

    function url(path: string): URL {
        return new URL(path, base);
    }

    function post(path: string, body: unknown, init: RequestInit): Promise<Response> {
        // Forms, texts and bytes call themselves something else.
        const isPlain = String(body) === '[object Object]';
        const headers = new Headers(init.headers);
        if (isPlain && !headers.has('content-type')) headers.set('content-type', 'application/json');
        if (cookies) headers.set(csrfHeader, '1');
        return platform.fetch(url(path), {
            ...init,
            method: 'POST',
            headers,
            body: isPlain ? JSON.stringify(body) : (body as BodyInit),
            cache: 'no-store',
            ...(cookies && { credentials: 'include' }),
        });
    }

    /** The session as it goes on; `undefined` when it is over. */
    async function renewed(session: Session, signal?: AbortSignal): Promise<Session | undefined> {
        // Neither, where a cookie carries it. An API's own token stands in for a refresh token: there it may be exchanged.
        const refreshToken = session.refreshToken ?? session.accessToken;
        const response = await post(endpoint('refresh'), { refreshToken }, { signal, redirect: 'error' } as RequestInit);
        return renewedBy(response, session, reading);
    }

    function end(session: Session | undefined, body: object): Promise<Response> {
        const headers = bearer(new Headers(), session);
        return post(endpoint('logout'), { refreshToken: session?.refreshToken, ...body }, { headers, keepalive: true });
    }

    function bearer(headers: Headers, session: Session | undefined): Headers {
        if (session?.accessToken) headers.set('authorization', `Bearer ${session.accessToken}`);
        return headers;
    }

    async function logIn<Body>(
        name: keyof Endpoints,
        credentials: unknown,
        { path = endpoint(name), ...init }: LoginOptions = {},
    ): Promise<Body> {
        start();
        // Its cookies could arrive after those of the login.
        refreshes.abort();
        const response = await post(path, credentials, init);
        const body = await jsonOf(response);
        if (!response.ok) throw refusalOf(response, body, reading);
        const former = tabs.current();
        const session = sessionOf(body, undefined, userOf(body), reading);
        if (session) {
            begin(session);
            // The gateway ends by itself what came along as a cookie.
            if (isKnown(former) && former.session && !cookies) void end(former.session, {}).catch(() => undefined);
        }
        return body as Body;
    }

    async function logout(scope: LogoutScope = 'session'): Promise<{ ended: number }> {
        start();
        tabs.sync();
        const entry = tabs.current();
        const target = entry.session ? entry : unconfirmed;
        if (scope !== 'others') {
            if (entry.session) begin();
            unconfirmed = target;
        }
        // Without a token there is nothing to end; a cookie may be there all the same.
        if (!target && !cookies) return { ended: 0 };
        let session = target?.session;
        for (let attempt = 1; ; attempt++) {
            try {
                const response = await end(session, { scope });
                const body = await jsonOf(response);
                // After a night's sleep: for more than its own session the gateway wants a token that is alive.
                if (body.code === 'token_expired' && session)
                    session =
                        scope === 'others' ? (await refreshes.fresh(entry), tabs.current().session) : await renewed(session);
                if (!response.ok) throw refusalOf(response, body, reading);
                if (unconfirmed === target) unconfirmed = undefined;
                return { ended: Number(body.ended ?? 0) };
            } catch (cause) {
                if (attempt >= LOGOUT_ATTEMPTS_MAX) throw new TokengateError('logout_unconfirmed', 'Not confirmed.', { cause });
                await pause(platform, LOGOUT_PAUSE * attempt);
            }
        }
    }

    async function fetch(input: RequestInfo | URL, init: RequestInit = {}): Promise<Response> {
        start();
        const request = input instanceof Request ? input : undefined;
        const target = request ? new URL(request.url) : url(String(input));
        const headers = new Headers(init.headers ?? request?.headers);
        const signal = init.signal ?? request?.signal;
        if (!origins.has(target.origin) || headers.has('authorization')) return platform.fetch(request ?? target, init);

        const isChange = !isSafe(init.method ?? request?.method);
        const send = (input: RequestInfo | URL, { session }: Entry) => {
            if (cookies && isChange) headers.set(csrfHeader, '1');
            bearer(headers, session);
            return platform.fetch(input, { ...init, headers, ...(cookies && { credentials: 'include' }) });
        };
        await refreshes.fresh(undefined, signal).catch((error: unknown) => {
            // What cannot be refreshed now may do all the same: the response tells.
            if (!cookies && !tabs.current().session?.accessToken) throw error;
        });
        const used = tabs.current();
        if (!used.session) return send(request ?? target, used);

        // Kept for the second time: sending a request uses up its body.
        const spare = isChange && init.body === undefined ? request?.clone() : request;
        const response = await send(request ?? target, used);
        if (!(await refusesToken(response, cookies))) return response;
        // A stream, gone once it was sent. Told by what it can do: React Native knows none.
        if ((init.body as ReadableStream | undefined)?.getReader) {
            void refreshes.fresh(used).catch(() => undefined);
            return response;
        }
        await refreshes.fresh(used, signal);
        const now = tabs.current();
        // What one user asked must not be done in the name of another.
        if (!now.session || !isSameLogin(now, used) || compare(now, used) <= 0) return response;
        void response.body?.cancel();
        report({ type: 'retrying', url: target.href });
        return send(spare ?? target, now);
    }

    async function accessToken({ refused, signal }: AccessTokenOptions = {}): Promise<string | undefined> {
        start();
        tabs.sync();
        const entry = tabs.current();
        await refreshes.fresh(refused && refused === entry.session?.accessToken ? entry : undefined, signal);
        return tabs.current().session?.accessToken;
    }

    async function own(path: string, method: string): Promise<Response> {
        const response = await fetch(url(path), { method, cache: 'no-store' });
        if (!response.ok) throw refusalOf(response, await jsonOf(response), reading);
        return response;
    }

    /** Page by page. */
    async function devices(before: Device[], query = ''): Promise<Device[]> {
        const { sessions = [], next } = await jsonOf(await own(endpoint('sessions') + query, 'GET'));
        const all = before.concat(sessions as Device[]);
        return next && all.length < DEVICES_MAX ? devices(all, `?limit=200&after=${next}`) : all;
    }

    start();

    return {
        login: (body, options) => logIn('login', body, options),
        register: (body, options) => logIn('register', body, options),
        quickRegister: (body, options) => logIn('quickRegister', body, options),
        logout,
        sessions: () => devices([]),
        async endSession(id) {
            await own(`${endpoint('sessions')}/${encodeURIComponent(id)}`, 'DELETE');
        },
        fetch,
        accessToken,
        state: () => state,
        subscribe(listener) {
            // Another function each time: whoever subscribes twice unsubscribes twice.
            const own = () => listener();
            listeners.add(own);
            start();
            return () => listeners.delete(own);
        },
        refreshIn: refreshes.due,
        dispose() {
            stopListening?.();
            stopListening = undefined;
            tabs.close();
            refreshes.stop();
        },
    };
}

function stateOf(entry: Entry, previous: State): State {
    if (!entry.session) return SIGNED_OUT;
    if (!isKnown(entry)) return UNKNOWN;
    const state: State = { status: 'signed-in', user: entry.session.user };
    // Users are JSON; another tab's copy of the same one must not look like a change.
    return JSON.stringify(previous) === JSON.stringify(state) ? previous : state;
}
