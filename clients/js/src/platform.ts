/** What the client needs of its surroundings. Tests pass their own; everyone else gets the browser's. */

export interface Channel {
    post(message: unknown): void;
    close(): void;
}

export interface Platform {
    fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
    /** Milliseconds on a clock that nobody can set. */
    monotonic(): number;
    /** Milliseconds since 1970. */
    wall(): number;
    /** From 0 to 1. */
    random(): number;
    /** Calls once, and gives what calls it off. */
    after(milliseconds: number, call: () => void): () => void;
    /** Messages between the tabs of this origin; `undefined` where there are none. */
    channel(name: string, listener: (message: unknown) => void): Channel | undefined;
    /** Calls whenever time may have passed unnoticed: the page is shown again, thawed, or back online. */
    onWake(listener: (isOnline: boolean) => void): () => void;
    readonly locks: Pick<LockManager, 'request'> | undefined;
    /** What relative addresses of `baseUrl` are relative to. */
    readonly origin: string | undefined;
}

const WAKE_EVENTS = ['visibilitychange', 'pageshow', 'online', 'resume'] as const;

export function pause(platform: Platform, milliseconds: number): Promise<void> {
    return new Promise((resolve) => platform.after(milliseconds, resolve));
}

/** The browser's, or as much of it as there is. */
export function browser(): Platform {
    const { document, window } = globalThis as Partial<Pick<typeof globalThis, 'document' | 'window'>>;
    return {
        fetch: (input, init) => globalThis.fetch(input, init),
        monotonic: () => performance.now(),
        wall: () => Date.now(),
        random: () => Math.random(),
        after(milliseconds, call) {
            const timer = setTimeout(call, milliseconds);
            return () => clearTimeout(timer);
        },
        channel(name, listener) {
            if (!window || typeof BroadcastChannel === 'undefined') return undefined;
            const channel = new BroadcastChannel(name);
            channel.onmessage = (event) => listener(event.data);
            return { post: (message) => channel.postMessage(message), close: () => channel.close() };
        },
        onWake(listener) {
            const controller = new AbortController();
            const heard = ({ type }: Event) => {
                if (type !== 'visibilitychange' || !document?.hidden) listener(type === 'online');
            };
            // Captured: some of these go to the document, and not all of them bubble.
            for (const event of WAKE_EVENTS) window?.addEventListener(event, heard, { capture: true, signal: controller.signal });
            return () => controller.abort();
        },
        // Absent outside secure contexts, and in old browsers.
        locks: (globalThis.navigator as Partial<Navigator> | undefined)?.locks,
        origin: globalThis.location?.origin,
    };
}
