import { describe, expect, test } from 'vitest';

import { json, refused } from './gateway.js';
import { type Fate, type Tab, World } from './world.js';

const CREDENTIALS = { email: 'ada@example.com', password: 'right' };
const MINUTE = 60_000;
const OK: Fate = { there: 5, back: 5 };

async function signedIn(world: World, tab: Tab = world.tab()): Promise<Tab> {
    const login = tab.client.login(CREDENTIALS);
    await world.run(100);
    await login;
    return tab;
}

const answering =
    (response: () => Response): ((path: string) => Fate) =>
    (path) =>
        path === '/refresh' ? { ...OK, answer: response } : OK;

describe('when to refresh', () => {
    test('one minute before the end, and at most a sixth of that earlier', async () => {
        for (let seed = 1; seed <= 20; seed++) {
            const world = new World({ seed });
            const tab = await signedIn(world);
            await world.run(15 * MINUTE);
            const [first] = tab.requests.filter(({ path }) => path === '/refresh');
            expect(first?.at).toBeGreaterThanOrEqual(14 * MINUTE - 10_000);
            expect(first?.at).toBeLessThanOrEqual(14 * MINUTE + 100);
        }
    });

    test('the jitter differs between tabs', async () => {
        const times = await Promise.all(
            [1, 2, 3, 4].map(async (seed) => {
                const world = new World({ seed });
                const tab = await signedIn(world);
                return tab.client.refreshIn() + world.now;
            }),
        );
        expect(new Set(times).size).toBe(4);
    });

    test('the lead and its jitter are settings', async () => {
        const world = new World();
        const tab = await signedIn(world, world.tab({ refreshBefore: 300, refreshJitter: 0 }));
        expect(tab.client.refreshIn() + world.now).toBeCloseTo(10 * MINUTE, -2);
    });

    test('tokens that live no longer than the lead are refreshed at half of their life', async () => {
        const world = new World({ lifetime: MINUTE });
        const tab = await signedIn(world);
        await world.run(10 * MINUTE);
        expect(tab.refreshes()).toBeGreaterThanOrEqual(19);
        expect(tab.refreshes()).toBeLessThanOrEqual(21);
    });

    test('the wall clock may be set to anything', async () => {
        const world = new World();
        const tab = await signedIn(world);
        const due = tab.client.refreshIn();
        for (const shift of [365 * 86_400_000, -365 * 86_400_000]) {
            world.wallShift = shift;
            tab.thaw();
            await world.run(MINUTE);
            expect(tab.refreshes()).toBe(0);
        }
        await world.run(due);
        expect(tab.refreshes()).toBe(1);
        await world.run(due);
        expect(tab.refreshes()).toBe(2);
        expect(tab.status).toBe('signed-in');
    });

    test('a session that another load left is as old as it is', async () => {
        const world = new World();
        await signedIn(world);
        await world.run(10 * MINUTE);
        const later = world.tab();
        expect(later.status).toBe('signed-in');
        expect(later.client.refreshIn() + world.now).toBeLessThanOrEqual(14 * MINUTE + 100);
        expect(later.client.refreshIn() + world.now).toBeGreaterThanOrEqual(14 * MINUTE - 10_000);
    });

    test('a session whose age cannot be told is refreshed at once', async () => {
        const world = new World();
        await signedIn(world);
        world.wallShift = -MINUTE;
        const later = world.tab();
        await world.run(50);
        expect(later.refreshes()).toBe(1);
        expect(later.status).toBe('signed-in');
    });

    test('before each request the time is looked at again, whatever became of the timer', async () => {
        const world = new World();
        const tab = await signedIn(world);
        tab.freeze();
        await world.run(20 * MINUTE);
        expect(tab.refreshes()).toBe(0);
        // Thawed without any event, with the request first.
        const answer = tab.client.fetch('/api/x');
        tab.thaw();
        await world.run(100);
        expect((await answer).status).toBe(200);
        expect(tab.refreshes()).toBe(1);
        expect(world.gateway.calls.map(({ status }) => status)).toEqual([200]);
    });

    test('waking up looks at the time', async () => {
        const world = new World();
        const tab = await signedIn(world);
        tab.freeze();
        await world.run(14.5 * MINUTE);
        tab.thaw();
        await world.run(100);
        expect(tab.refreshes()).toBe(1);
    });

    test('a token that lives on is used while its refresh is under way', async () => {
        const world = new World();
        const tab = await signedIn(world);
        tab.fate = (path) => (path === '/refresh' ? { there: 9000, back: 5 } : OK);
        await world.run(14 * MINUTE);
        const before = world.now;
        const answer = tab.client.fetch('/api/x');
        await world.run(50);
        expect((await answer).status).toBe(200);
        expect(world.gateway.calls[0]?.at).toBeLessThan(before + 50);
    });

    test('nobody is told to wait for longer than an hour', async () => {
        const world = new World();
        const tab = await signedIn(world);
        tab.fate = answering(() => json(503, {}, { 'retry-after': '315360000' }));
        await world.run(16 * MINUTE);
        const asked = tab.refreshes();
        tab.fate = () => OK;
        await world.run(60 * MINUTE);
        expect(tab.refreshes()).toBe(asked + 1);
        expect(tab.status).toBe('signed-in');
    });

    test('a life that is longer than timers can run is looked after all the same', async () => {
        const world = new World({ lifetime: 60 * 86_400_000 });
        const tab = await signedIn(world);
        await world.run(59 * 86_400_000);
        expect(tab.refreshes()).toBe(0);
        await world.run(86_400_000);
        expect(tab.refreshes()).toBe(1);
    });
});

describe('what ends a session', () => {
    test.each([
        ['401 refresh_token_invalid', () => refused()],
        ['401 refresh_token_missing', () => json(401, { code: 'refresh_token_missing' })],
        ['400 invalid_grant', () => json(400, { error: 'invalid_grant' })],
    ])('%s of /refresh does', async (_name, response) => {
        const world = new World();
        const tab = await signedIn(world);
        tab.fate = answering(response);
        await world.run(15 * MINUTE);
        expect(tab.status).toBe('signed-out');
        expect(tab.refreshes()).toBe(1);
        expect(tab.stored?.session).toBeUndefined();
    });

    test.each<[string, (path: string) => Fate]>([
        ['an unreachable network', () => ({ ...OK, losesRequest: true })],
        ['a lost reply', () => ({ ...OK, losesReply: true })],
        ['400 of another kind', answering(() => json(400, { error: 'invalid_request' }))],
        ['401 without a body', answering(() => new Response(null, { status: 401 }))],
        ["401 of a proxy's own", answering(() => new Response('<html>Sign in</html>', { status: 401 }))],
        ['401 of another program', answering(() => json(401, { code: 'unauthorized', error: 'invalid_grant' }))],
        ['401 of a route of the gateway', answering(() => json(401, { code: 'token_missing', error: 'invalid_token' }))],
        ['403', answering(() => json(403, { code: 'origin_refused' }))],
        ['404', answering(() => json(404, {}))],
        ['429', answering(() => json(429, { code: 'rate_limited' }, { 'retry-after': '7' }))],
        ['500', answering(() => json(500, {}))],
        ['503', answering(() => json(503, { code: 'store_unavailable' }, { 'retry-after': '1' }))],
        ['503 beyond a bound', answering(() => json(503, { code: 'overloaded' }, { 'retry-after': '1' }))],
        ['503 after a timeout', answering(() => json(503, { code: 'timed_out' }, { 'retry-after': '1' }))],
        ['the page of a captive portal', answering(() => new Response('<html>Log in to the Wi-Fi</html>', { status: 200 }))],
        ['JSON that is no answer of ours', answering(() => json(200, { ok: true }))],
        ['JSON that is no object', answering(() => json(200, null))],
    ])('%s does not', async (_name, fate) => {
        const world = new World();
        const tab = await signedIn(world);
        tab.fate = fate;
        await world.run(120 * MINUTE);
        expect(tab.status).toBe('signed-in');
        expect(tab.refreshes()).toBeGreaterThan(5);
        tab.fate = () => OK;
        await world.run(2 * MINUTE);
        const answer = tab.client.fetch('/api/x');
        await world.run(100);
        expect((await answer).status).toBe(200);
        expect(world.gateway.falseLogouts).toBe(0);
    });

    test('a refusal of what another tab has replaced does not', async () => {
        const world = new World();
        const options = { refreshJitter: 0 };
        const [a, b] = [await signedIn(world, world.tab(options, { hasLocks: false })), world.tab(options, { hasLocks: false })];
        // The refusal of b arrives after a has moved on.
        b.fate = (path) => (path === '/refresh' ? { there: 3000, back: 5, answer: refused } : OK);
        await world.run(15 * MINUTE);
        expect([a.refreshes(), b.refreshes()]).toEqual([1, 1]);
        expect([a.status, b.status]).toEqual(['signed-in', 'signed-in']);
    });

    test('an attempt is given up after ten seconds, and the next one meets the same successor', async () => {
        const world = new World();
        const tab = await signedIn(world);
        let attempts = 0;
        tab.fate = (path) => (path === '/refresh' && ++attempts === 1 ? { ...OK, losesReply: true } : OK);
        await world.run(15 * MINUTE);
        const [first, second] = tab.requests.filter(({ path }) => path === '/refresh');
        expect(second!.at - first!.at).toBeGreaterThanOrEqual(10_000);
        expect(second!.at - first!.at).toBeLessThanOrEqual(11_100);
        expect(first!.body).toBe(second!.body);
        expect(world.gateway.rotations).toBe(1);
    });

    test('failures are followed by ever longer pauses, up to a minute', async () => {
        const world = new World();
        const tab = await signedIn(world);
        tab.fate = answering(() => json(500, {}));
        await world.run(60 * MINUTE);
        const times = tab.requests.filter(({ path }) => path === '/refresh').map(({ at }) => at);
        const pauses = times.slice(1).map((at, i) => at - times[i]!);
        expect(pauses[0]).toBeLessThanOrEqual(1100);
        expect(Math.max(...pauses)).toBeLessThanOrEqual(60_100);
        expect(Math.min(...pauses.slice(8))).toBeGreaterThanOrEqual(30_000);
    });

    test.each([
        ['seconds', () => '40'],
        ['a date', (world: World) => new Date(world.wall + 40_000).toUTCString()],
    ])('Retry-After is obeyed, in %s', async (_name, text) => {
        const world = new World();
        const tab = await signedIn(world);
        tab.fate = answering(() => json(503, {}, { 'retry-after': text(world) }));
        await world.run(15 * MINUTE);
        const times = tab.requests.filter(({ path }) => path === '/refresh').map(({ at }) => at);
        expect(times.length).toBeGreaterThan(1);
        for (const [i, at] of times.slice(1).entries()) expect(at - times[i]!).toBeGreaterThanOrEqual(39_000);
        // Nor does coming back online cut it short.
        tab.setOffline(false);
        await world.run(10);
        expect(tab.refreshes()).toBe(times.length);
    });

    test('back online, what failed is tried at once', async () => {
        const world = new World();
        const tab = await signedIn(world);
        tab.setOffline(true);
        await world.run(30 * MINUTE);
        expect(tab.status).toBe('signed-in');
        const before = tab.refreshes();
        tab.setOffline(false);
        await world.run(50);
        expect(tab.refreshes()).toBe(before + 1);
        const answer = tab.client.fetch('/api/x');
        await world.run(50);
        expect((await answer).status).toBe(200);
    });
});

describe('when refreshes cannot help', () => {
    test('they are capped', async () => {
        const world = new World();
        const tab = await signedIn(world);
        world.gateway.api = () => json(401, { error: 'invalid_token' }, { 'www-authenticate': 'Bearer error="invalid_token"' });
        const statuses: number[] = [];
        for (let i = 0; i < 100; i++) {
            const answer = tab.client.fetch('/api/x');
            await world.run(50);
            statuses.push((await answer).status);
        }
        expect(new Set(statuses)).toEqual(new Set([401]));
        expect(tab.refreshes()).toBeLessThanOrEqual(12);
        expect(tab.status).toBe('signed-in');
    });

    test('a gateway whose tokens are dead on arrival is not asked without end', async () => {
        const world = new World({ lifetime: 0 });
        const tab = await signedIn(world);
        await world.run(MINUTE);
        expect(tab.refreshes()).toBeLessThanOrEqual(36);
    });

    test('without rotation the refresh token stays', async () => {
        const world = new World();
        world.gateway.rotation = false;
        const tab = await signedIn(world);
        const token = tab.stored?.session?.refreshToken;
        await world.run(120 * MINUTE);
        expect(tab.refreshes()).toBeGreaterThanOrEqual(8);
        expect(tab.stored?.session?.refreshToken).toBe(token);
        const answer = tab.client.fetch('/api/x');
        await world.run(50);
        expect((await answer).status).toBe(200);
    });
});
