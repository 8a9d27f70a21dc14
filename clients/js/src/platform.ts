/** What the client needs of its surroundings. Tests pass their own; everyone else gets the browser's. */

export interface Channel {
    /** Neither fails: who cannot be told finds out by the storage. */
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

/** What `use` gives; `undefined` where the surroundings lack or forbid what it needs. */
export function tried<T>(use: () => T): T | undefined {
    try {
        return use();
    } catch {
        return undefined;
    }
}

/** Hears events of the window, where there are any; gives what ends that. */
export function listen<T extends Event>(events: readonly string[], heard: (event: T) => void): () => void {
    const controller = new AbortController();
    // Captured: some of these go to the document, and not all of them bubble. React Native has a window without events.
    for (const event of events)
        globalThis.window?.addEventListener?.(event, heard as EventListener, { capture: true, signal: controller.signal });
    return () => controller.abort();
}

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
            // Old browsers have none, and some throw where storage is partitioned or blocked: tabs then hear of each other by the storage.
            return tried(() => {
                const channel = window && new BroadcastChannel(name);
                if (!channel) return undefined;
                channel.onmessage = (event) => listener(event.data);
                return {
                    post: (message) => tried(() => channel.postMessage(message)),
                    close: () => tried(() => channel.close()),
                };
            });
        },
        onWake: (listener) =>
            listen(['visibilitychange', 'pageshow', 'online', 'resume'], ({ type }) => {
                if (type !== 'visibilitychange' || !document?.hidden) listener(type === 'online');
            }),
        // Absent outside secure contexts, and in old browsers.
        locks: (globalThis.navigator as Partial<Navigator> | undefined)?.locks,
        origin: globalThis.location?.origin,
    };
}
