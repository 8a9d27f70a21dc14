/**
 * A world of one clock: tabs of a browser, a network that loses and delays, and a gateway that keeps the rules of rotation. Nothing
 * here takes real time, and a seed decides everything.
 */

import { type Client, type ClientOptions, connect } from '../../src/client.js';
import type { ClientEvent } from '../../src/events.js';
import type { Entry } from '../../src/entry.js';
import type { Platform } from '../../src/platform.js';
import type { Storage } from '../../src/storage.js';
import { Gateway } from './gateway.js';

export const ORIGIN = 'https://app.example.com';
/** A century in between runs of the monotonic clock and the wall clock: nobody may take one for the other. */
const WALL_AHEAD = 1_800_000_000_000;
/** When a browser notices that nothing comes any more. */
const CONNECTION_LOST = 45_000;
/** Macrotasks that the platform's own streams need to come to rest. */
const ROUNDS_TO_REST = 3;
/** More events than that in a row without any time between them are a loop. */
const EVENTS_AT_ONCE_MAX = 5000;

export type Random = () => number;

/** mulberry32 */
export function random(seed: number): Random {
    let state = seed;
    return () => {
        state = (state + 0x6d2b79f5) | 0;
        let t = Math.imul(state ^ (state >>> 15), 1 | state);
        t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
        return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
}

interface Planned {
    at: number;
    order: number;
    call: () => void;
}

export class World {
    now = 0;
    /** What somebody has set the wall clock forward by. */
    wallShift = 0;
    readonly random: Random;
    readonly gateway: Gateway;
    readonly tabs: Tab[] = [];
    #planned: Planned[] = [];
    #order = 0;
    #lockQueue: Array<() => void> = [];
    #lockHeld = false;

    constructor({ seed = 1, leeway = 30_000, lifetime = 900_000 } = {}) {
        this.random = random(seed);
        this.gateway = new Gateway({ leeway, lifetime, now: () => this.now });
    }

    get wall(): number {
        return WALL_AHEAD + this.now + this.wallShift;
    }

    after(milliseconds: number, call: () => void): () => void {
        const planned = { at: this.now + milliseconds, order: this.#order++, call };
        this.#planned.push(planned);
        return () => {
            this.#planned = this.#planned.filter((other) => other !== planned);
        };
    }

    /** Lets time pass, event by event. */
    async run(milliseconds: number): Promise<void> {
        const until = this.now + milliseconds;
        await rest();
        let atOnce = 0;
        for (;;) {
            const next = this.#planned.reduce<Planned | undefined>(
                (first, planned) =>
                    !first || planned.at < first.at || (planned.at === first.at && planned.order < first.order) ? planned : first,
                undefined,
            );
            if (!next || next.at > until) break;
            this.#planned = this.#planned.filter((other) => other !== next);
            atOnce = next.at > this.now ? 0 : atOnce + 1;
            if (atOnce > EVENTS_AT_ONCE_MAX) throw new Error(`time stands still: ${next.call}`);
            this.now = Math.max(this.now, next.at);
            next.call();
            await rest();
        }
        this.now = until;
    }

    tab(options: ClientOptions = {}, habits: Partial<Habits> = {}): Tab {
        const tab = new Tab(this, options, { hasChannel: true, hasLocks: true, ...habits });
        this.tabs.push(tab);
        return tab;
    }

    /** The Web Locks of this browser, with one name. */
    readonly lock: NonNullable<Platform['locks']> = {
        request: async (_name: string, ...rest: unknown[]) => {
            const [{ signal }, work] = rest as [LockOptions, () => Promise<unknown>];
            await new Promise<void>((resolve, reject) => {
                const grant = () => {
                    this.#lockHeld = true;
                    resolve();
                };
                if (!this.#lockHeld) return grant();
                this.#lockQueue.push(grant);
                signal?.addEventListener('abort', () => {
                    this.#lockQueue = this.#lockQueue.filter((other) => other !== grant);
                    reject(signal.reason);
                });
            });
            try {
                return await work();
            } finally {
                this.#lockHeld = false;
                this.#lockQueue.shift()?.();
            }
        },
    } as NonNullable<Platform['locks']>;
}

interface Habits {
    hasChannel: boolean;
    hasLocks: boolean;
    /** The longest that news of other tabs takes. */
    newsDelay: number;
    /** What the network does to a request. */
    fate: (path: string) => Fate;
}

/** Milliseconds to the gateway and back; what is lost never arrives. */
export interface Fate {
    there: number;
    back: number;
    losesRequest?: boolean;
    losesReply?: boolean;
    /** Answered by something in between. */
    answer?: () => Response;
}

/** One tab: a client with surroundings that can freeze, go offline and be told late. */
export class Tab {
    readonly client: Client;
    readonly events: ClientEvent[] = [];
    readonly requests: Array<{ path: string; at: number; headers: Headers; method: string; body: unknown; init: RequestInit }> =
        [];
    fate: (path: string) => Fate;
    isOffline = false;
    #isFrozen = false;
    #thawed: Array<() => void> = [];
    #wake: ((isOnline: boolean) => void) | undefined;
    #view: Entry | undefined;
    #watch: ((entry: Entry | undefined) => void) | undefined;
    #hear: ((message: unknown) => void) | undefined;

    constructor(
        readonly world: World,
        options: ClientOptions,
        readonly habits: Partial<Habits>,
    ) {
        this.fate = habits.fate ?? (() => ({ there: 5, back: 5 }));
        this.#view = world.tabs.map((tab) => tab.#view).find(Boolean);
        const storage: Storage = {
            sharedAs: 'shared',
            read: () => this.#view,
            write: (entry) => this.#write(entry),
            watch: (listener) => {
                this.#watch = listener;
                return () => {
                    this.#watch = undefined;
                };
            },
        };
        const platform: Platform = {
            fetch: (input, init) => this.#fetch(input, init),
            monotonic: () => world.now,
            wall: () => world.wall,
            random: world.random,
            after: (milliseconds, call) => world.after(milliseconds, () => this.#whenAwake(call)),
            channel: (_name, listener) => {
                if (!habits.hasChannel) return undefined;
                this.#hear = listener;
                return {
                    post: (message) => this.#toOthers((tab) => tab.#hear?.(structuredClone(message))),
                    close: () => {
                        this.#hear = undefined;
                    },
                };
            },
            onWake: (listener) => {
                this.#wake = listener;
                return () => {
                    this.#wake = undefined;
                };
            },
            locks: habits.hasLocks ? world.lock : undefined,
            origin: ORIGIN,
        };
        this.client = connect({ storage, oldTokenKey: false, onEvent: (event) => this.events.push(event), ...options }, platform);
    }

    get stored(): Entry | undefined {
        return this.#view;
    }

    /** What another program wrote into the storage that all tabs share. */
    overwrite(entry: Entry) {
        this.#write(entry);
        this.#whenAwake(() => this.#watch?.(entry));
    }

    /** Someone empties the storage in another tab. */
    clear() {
        for (const tab of this.world.tabs) {
            tab.#view = undefined;
            tab.#whenAwake(() => tab.#watch?.(undefined));
        }
    }

    freeze() {
        this.#isFrozen = true;
    }

    thaw() {
        this.#isFrozen = false;
        for (const call of this.#thawed.splice(0)) call();
        this.#wake?.(false);
    }

    setOffline(isOffline: boolean) {
        this.isOffline = isOffline;
        if (!isOffline) this.#whenAwake(() => this.#wake?.(true));
    }

    get status() {
        return this.client.state().status;
    }

    refreshes(): number {
        return this.requests.filter(({ path }) => path === '/refresh').length;
    }

    #whenAwake(call: () => void) {
        if (this.#isFrozen) this.#thawed.push(call);
        else call();
    }

    #write(entry: Entry) {
        const copy = structuredClone(entry);
        this.#view = copy;
        this.#toOthers(
            (tab) => {
                tab.#watch?.(copy);
            },
            (tab) => {
                tab.#view = copy;
            },
        );
    }

    /** News take their time to each tab, and a frozen one hears them when it thaws; its view of the storage follows all the same. */
    #toOthers(tell: (tab: Tab) => void, show: (tab: Tab) => void = () => undefined) {
        for (const tab of this.world.tabs) {
            if (tab === this) continue;
            const delay = this.world.random() * (this.habits.newsDelay ?? 0);
            this.world.after(delay, () => {
                show(tab);
                tab.#whenAwake(() => tell(tab));
            });
        }
    }

    #fetch(input: RequestInfo | URL, init: RequestInit = {}): Promise<Response> {
        const request = new Request(input, {
            ...init,
            ...(init.body instanceof ReadableStream && { duplex: 'half' }),
        } as RequestInit);
        const { pathname } = new URL(request.url);
        this.requests.push({
            path: pathname,
            at: this.world.now,
            headers: request.headers,
            method: request.method,
            body: init.body,
            init,
        });
        const fate = this.fate(pathname);
        return new Promise((resolve, reject) => {
            const { signal } = request;
            signal.addEventListener('abort', () => reject(signal.reason));
            this.world.after(CONNECTION_LOST, () => reject(new TypeError('Failed to fetch')));
            if (this.isOffline) return void this.world.after(1, () => reject(new TypeError('Failed to fetch')));
            this.world.after(fate.there, () => {
                if (fate.losesRequest) return;
                void Promise.resolve(fate.answer?.() ?? this.world.gateway.answer(request)).then((response) => {
                    if (fate.losesReply) return;
                    this.world.after(fate.back, () => this.#whenAwake(() => resolve(response)));
                });
            });
        });
    }
}

/** What `work` gives when time has passed. */
export async function settled<T>(world: World, work: Promise<T>, milliseconds = 1000): Promise<T> {
    work.catch(() => undefined);
    await world.run(milliseconds);
    return work;
}

/** Everything that is not waiting for the world's clock comes to rest. */
async function rest(): Promise<void> {
    for (let round = 0; round < ROUNDS_TO_REST; round++) await new Promise((resolve) => setImmediate(resolve));
}
