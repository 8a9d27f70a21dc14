/** When to refresh, and what to make of the response: one attempt at a time, never in a loop, and no end but a definite one. */

import { type Entry, type Session, ageOf, compare, isSameLogin } from './entry.js';
import { TokengateError } from './errors.js';
import { orAborted } from './http.js';
import { type Platform, pause } from './platform.js';
import type { Storage } from './storage.js';
import { type Source, type Tabs, nameOf } from './tabs.js';

export interface Timing {
    /** How long before the access token ends it is refreshed; half of its life where it lives no longer than that. */
    readonly refreshBefore: number;
    /** At most so much earlier, by chance, lest all tabs ask at once. */
    readonly jitter: number;
    /** When an attempt is given up. A third of the gateway's `refresh.leeway`, so that the next one still meets the same successor. */
    readonly timeout: number;
}

/** What a refresher does, for whoever watches. */
export type RefreshEvent =
    | { readonly type: 'refreshing'; readonly generation: number }
    | { readonly type: 'refreshed'; readonly generation: number }
    | { readonly type: 'postponed'; readonly milliseconds: number; readonly cause: unknown }
    /** The response came after the end of its session. */
    | { readonly type: 'discarded' };

export interface Refresher {
    /**
     * Waits until the access token is alive, and newer than the one that was refused; or until nobody is signed in. Gives up without
     * a word when so many attempts were made of late that something must be wrong with the tokens, not with their age.
     */
    fresh(refused: Entry | undefined, signal?: AbortSignal | null): Promise<void>;
    /** Looks whether it is time. */
    check(): void;
    /** Plans anew; to be called whenever the entry has changed. */
    changed(source: Source): void;
    /** Breaks off what is under way: its response must not count any more, nor set a cookie. */
    abort(): void;
    /** Back online: what failed for want of a network is tried again at once. */
    online(): void;
    /** Milliseconds until the next attempt; infinite when none is planned. */
    due(): number;
    start(): void;
    stop(): void;
}

/** Attempts within the window, for whatever reason. */
const ATTEMPTS_MAX = 12;
const ATTEMPTS_WINDOW = 30_000;
const BACKOFF_FIRST = 1000;
const BACKOFF_MAX = 60_000;
/** However short-lived a token is. */
const INTERVAL_MIN = 1000;
/** No gateway asks for more, in seconds; proxies may say anything, and a tab must not be silent until it is loaded again. */
const RETRY_AFTER_MAX = 3600;
/** How long to wait for a tab that is refreshing already. */
const LOCK_WAIT = 2000;
/** Timers that run longer look again in between. */
const TIMER_MAX = 3_600_000;

export interface RefresherParts {
    readonly platform: Platform;
    readonly storage: Storage;
    readonly tabs: Tabs;
    readonly timing: Timing;
    /** Asks the gateway: the session as it goes on, or `undefined` when it is over. Fails when neither was said. */
    readonly attempt: (session: Session, signal: AbortSignal) => Promise<Session | undefined>;
    /** Told what the gateway said of what `start` holds. */
    readonly decided: (start: Entry, session: Session | undefined) => void;
    readonly report: (event: RefreshEvent) => void;
}

export function refresher({ platform, storage, tabs, timing, attempt, decided, report }: RefresherParts): Refresher {
    let flight: Promise<void> | undefined;
    let controller: AbortController | undefined;
    /** On the monotonic clock, as are all times here. */
    let attempts: number[] = [];
    let failures = 0;
    let lastCause: unknown;
    let notBefore = 0;
    let wasTold = false;
    let endsAt = Infinity;
    let dueAt = Infinity;
    let planned: (() => void) | undefined;
    let stopped = true;

    function measure(source: Source) {
        const { session } = tabs.current();
        const now = platform.monotonic();
        failures = notBefore = 0;
        endsAt = dueAt = Infinity;
        if (!session || session.expiresIn === undefined) return;
        const lifetime = session.expiresIn * 1000;
        const age = source === 'own' ? 0 : ageOf(session, platform.wall());
        endsAt = now + Math.max(lifetime - age, 0);
        const lead = timing.refreshBefore < lifetime ? timing.refreshBefore + platform.random() * timing.jitter : lifetime / 2;
        dueAt = now + Math.max(lifetime - lead, Math.min(INTERVAL_MIN, lifetime / 2)) - Math.min(age, lifetime);
    }

    /** When the next attempt may be made at all. */
    function allowedAt(): number {
        const earliest = platform.monotonic() - ATTEMPTS_WINDOW;
        attempts = attempts.filter((at) => at > earliest);
        const [oldest] = attempts;
        return attempts.length < ATTEMPTS_MAX || oldest === undefined ? notBefore : Math.max(notBefore, oldest + ATTEMPTS_WINDOW);
    }

    /** How long from now, in whole milliseconds: timers cut off the rest, and would be early. */
    function until(at: number): number {
        return Math.ceil(Math.max(at - platform.monotonic(), 0));
    }

    /** How long until the next attempt; infinite when none is to be made. */
    function due(): number {
        return until(Math.max(dueAt, allowedAt()));
    }

    function plan() {
        planned?.();
        planned = undefined;
        if (stopped || flight || dueAt === Infinity) return;
        planned = platform.after(Math.min(due(), TIMER_MAX), check);
    }

    function check() {
        tabs.sync();
        if (due()) plan();
        else void refresh();
    }

    /** Never fails: what went wrong is known by what is planned. */
    function refresh(): Promise<void> {
        flight ??= once().finally(() => {
            flight = controller = undefined;
            plan();
        });
        return flight;
    }

    async function once() {
        const before = tabs.current();
        const mine = (controller = new AbortController());
        await locked(async () => {
            tabs.sync();
            const start = tabs.current();
            const otherWasQuicker = compare(start, before) > 0;
            if (otherWasQuicker || !start.session || mine.signal.aborted) return;
            attempts.push(platform.monotonic());
            report({ type: 'refreshing', generation: start.session.generation });
            const giveUp = platform.after(timing.timeout, () => mine.abort());
            try {
                // Raced too: a platform may leave a fetch hanging whatever its signal says.
                settle(start, await orAborted(attempt(start.session, mine.signal), mine.signal));
            } catch (cause) {
                if (isStill(start)) postpone(cause);
            } finally {
                giveUp();
            }
        });
    }

    function settle(start: Entry, session: Session | undefined) {
        if (!isStill(start)) return;
        // Of a token that another tab has replaced meanwhile, a refusal says nothing.
        if (!session && tabs.current().session?.generation !== start.session?.generation) return;
        decided(start, session);
        if (session) report({ type: 'refreshed', generation: session.generation });
    }

    function isStill(start: Entry): boolean {
        tabs.sync();
        const now = tabs.current();
        if (now.session && isSameLogin(now, start)) return true;
        report({ type: 'discarded' });
        return false;
    }

    function postpone(cause: unknown) {
        const { retryAfter: told } = Object(cause) as { retryAfter?: number };
        const retryAfter = told && Math.min(told, RETRY_AFTER_MAX);
        const backoff = Math.min(BACKOFF_FIRST * 2 ** failures++, BACKOFF_MAX) * (0.5 + platform.random() / 2);
        const milliseconds = Math.max(backoff, (retryAfter ?? 0) * 1000);
        wasTold = retryAfter !== undefined;
        notBefore = platform.monotonic() + milliseconds;
        lastCause = cause;
        report({ type: 'postponed', milliseconds, cause });
    }

    /** Spares the gateway what another tab is asking already. Nothing depends on it: who waits too long goes ahead. */
    async function locked(work: () => Promise<void>): Promise<void> {
        if (!platform.locks || !storage.sharedAs) return work();
        const waiting = new AbortController();
        const giveUp = platform.after(LOCK_WAIT, () => waiting.abort());
        let began = false;
        const begin = () => {
            began = true;
            return work();
        };
        try {
            await platform.locks.request(nameOf(storage.sharedAs), { signal: waiting.signal }, begin);
        } catch {
            // Waited for too long, or denied, as in sandboxed frames.
            if (!began) await begin();
        }
        giveUp();
    }

    async function fresh(refused: Entry | undefined, signal?: AbortSignal | null) {
        const deadline = platform.monotonic() + timing.timeout;
        for (;;) {
            check();
            const now = platform.monotonic();
            const entry = tabs.current();
            const isFresh = now < endsAt && (!refused || compare(entry, refused) > 0);
            if (!entry.session || isFresh) return;
            const wait = flight ? 0 : until(allowedAt());
            if (now + wait >= deadline) {
                if (!failures) return;
                const retryAfter = Math.ceil(wait / 1000);
                throw new TokengateError('refresh_unavailable', 'Cannot refresh now.', {
                    retryAfter,
                    cause: lastCause,
                });
            }
            await orAborted(wait ? pause(platform, wait) : refresh(), signal);
        }
    }

    return {
        fresh,
        check,
        changed(source) {
            measure(source);
            plan();
        },
        abort: () => controller?.abort(),
        online() {
            if (!wasTold) notBefore = 0;
            check();
        },
        due,
        start() {
            stopped = false;
        },
        stop() {
            stopped = true;
            planned?.();
            controller?.abort();
        },
    };
}
