/** Many tabs of one browser, for a minute, with a network that loses, delays and refuses. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { HASTY, Rig, call, events, status } from './support/rig.js';
import type { Fault, Refresh } from './support/servers.js';

const DURATION = 60_000;
const LEEWAY = 6_000;
/** How much later than the proxy the gateway may see a call, on a busy machine. */
const SLACK = 1_500;

/** Deterministic in its choices, if not in their timing. */
function faults(seed: number): () => Fault {
    let state = seed;
    const chance = () => (state = (state * 48271) % 2147483647) / 2147483647;
    return () => {
        const delay = () => (chance() < 0.6 ? 0 : chance() * 1200);
        const dice = chance();
        const does = dice < 0.15 ? 'lose-reply' : dice < 0.25 ? 'lose-request' : dice < 0.4 ? 'answer-503' : undefined;
        // Longer than an attempt's two seconds, now and then.
        return { there: delay(), back: chance() < 0.1 ? 3000 : delay(), ...(does && { does }) };
    };
}

/** What must be true of everything that the gateway was asked. */
function judge(refreshes: readonly Refresh[]) {
    expect(refreshes.filter(({ status }) => status !== 200)).toEqual([]);
    // Of one generation there is one token, whoever asks and how often.
    const tokens = new Map<number, Set<string>>();
    for (const { generation, refreshToken } of refreshes) {
        tokens.set(generation!, (tokens.get(generation!) ?? new Set()).add(refreshToken!));
    }
    expect([...tokens.values()].filter((set) => set.size > 1)).toEqual([]);
    // One successor at a time: a new generation begins no sooner than the last one's leeway is over.
    const began = new Map<number, number>();
    for (const { generation, at } of refreshes) began.set(generation!, Math.min(at, began.get(generation!) ?? Infinity));
    const times = [...began].sort(([a], [b]) => a - b).map(([, at]) => at);
    expect(times.length).toBeGreaterThanOrEqual(4);
    for (const [i, at] of times.slice(1).entries()) expect(at - times[i]!).toBeGreaterThanOrEqual(LEEWAY - SLACK);
}

describe.concurrent('for a minute under lost replies, delays and 503s', () => {
    const rigs: Rig[] = [];
    beforeAll(async () => {
        for (let i = 0; i < 2; i++) rigs.push(await Rig.start(() => ({ 'tokens.lifetime': '1m', 'refresh.leeway': '6s' })));
    });
    afterAll(async () => {
        for (const rig of rigs) await rig.stop();
    });

    test.each([
        [2, 0],
        [8, 1],
    ])('%i tabs stay signed in, with one successor at a time', async (count, place) => {
        const rig = rigs[place]!;
        const context = await rig.context();
        const pages = [await rig.signedIn(HASTY, context)];
        while (pages.length < count) pages.push(await rig.tab(context, HASTY));
        rig.proxy.fault = faults(place + 7);

        const end = Date.now() + DURATION;
        const answers: Array<number | string> = [];
        for (let i = 0; Date.now() < end; i++) {
            answers.push(await call(pages[i % count]!));
            await new Promise((resolve) => setTimeout(resolve, 250));
        }
        expect(answers.filter((answer) => answer !== 200)).toEqual([]);
        judge(rig.proxy.refreshes);
        for (const page of pages) {
            expect(await status(page)).toBe('signed-in');
            expect(await page.evaluate(() => window.events.filter(({ type }) => type.startsWith('signed-')).at(-1)?.type)).toBe(
                'signed-in',
            );
            expect(await events(page, 'signed-out')).toBeLessThanOrEqual(1);
        }

        rig.proxy.fault = () => ({});
        expect(await pages.at(-1)!.evaluate(() => window.client.logout())).toEqual({ ended: 1 });
        for (const page of pages) await page.waitForFunction(() => window.client.state().status === 'signed-out');
        expect(rig.errors).toEqual([]);
    });
});
