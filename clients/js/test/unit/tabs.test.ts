import { describe, expect, test } from 'vitest';

import { NOTHING } from '../../src/entry.js';
import { type Fate, type Tab, World, settled } from './world.js';

const CREDENTIALS = { email: 'ada@example.com', password: 'right' };
const OK: Fate = { there: 5, back: 5 };
const MINUTE = 60_000;

/** Tabs of one browser, signed in by the first. */
async function tabs(world: World, count: number, habits: Parameters<World['tab']>[1] = {}): Promise<Tab[]> {
    const all = Array.from({ length: count }, () => world.tab({}, habits));
    await settled(world, all[0]!.client.login(CREDENTIALS));
    return all;
}

describe.each([
    ['BroadcastChannel', { hasChannel: true }],
    ['the storage event', { hasChannel: false }],
])('by %s', (_name, habits) => {
    test('a login in one tab signs the others in', async () => {
        const all = await tabs(new World(), 3, habits);
        expect(all.map((tab) => tab.client.state())).toEqual(
            Array(3).fill({ status: 'signed-in', user: { id: 'ada@example.com' } }),
        );
    });

    test('a refresh in one tab spares the others theirs', async () => {
        const world = new World();
        const all = await tabs(world, 8, habits);
        await world.run(15 * MINUTE);
        expect(all.reduce((sum, tab) => sum + tab.refreshes(), 0)).toBe(1);
        expect(new Set(all.map((tab) => tab.stored?.session?.accessToken)).size).toBe(1);
    });

    test('a logout in one tab signs the others out', async () => {
        const world = new World();
        const all = await tabs(world, 3, habits);
        expect(await settled(world, all[1]!.client.logout())).toEqual({ ended: 1 });
        expect(all.map(({ status }) => status)).toEqual(['signed-out', 'signed-out', 'signed-out']);
        expect(world.gateway.isOver(1)).toBe(true);
    });
});

describe('without locks', () => {
    test('tabs that refresh at the same time converge', async () => {
        const world = new World();
        const all = Array.from({ length: 8 }, () => world.tab({ refreshJitter: 0 }, { hasLocks: false }));
        await settled(world, all[0]!.client.login(CREDENTIALS));
        for (const tab of all) tab.fate = () => ({ there: world.random() * 3000, back: world.random() * 3000 });
        await world.run(15 * MINUTE);
        expect(world.gateway.rotations).toBe(1);
        expect(all.every(({ status }) => status === 'signed-in')).toBe(true);
        const answers = await settled(world, Promise.all(all.map((tab) => tab.client.fetch('/api/x'))), 7000);
        expect(answers.map(({ status }) => status)).toEqual(Array(8).fill(200));
    });
});

describe('with locks', () => {
    test('one tab asks, and the others take what it got', async () => {
        const world = new World();
        const all = Array.from({ length: 8 }, () => world.tab({ refreshJitter: 0 }));
        await settled(world, all[0]!.client.login(CREDENTIALS));
        for (const tab of all) tab.fate = () => ({ there: 300, back: 300 });
        await world.run(15 * MINUTE);
        // The second one may have the lock before it has the news.
        expect(all.reduce((sum, tab) => sum + tab.refreshes(), 0)).toBeLessThanOrEqual(2);
    });

    test('a tab that holds the lock for ever holds nobody up for long', async () => {
        const world = new World();
        const [a, b] = (await tabs(world, 2)) as [Tab, Tab];
        a.fate = (path) => (path === '/refresh' ? { ...OK, losesReply: true } : OK);
        const refused = a.stored!.session!.accessToken!;
        a.client.accessToken({ refused }).catch(() => undefined);
        await world.run(10);
        a.freeze();
        const began = world.now;
        const token = b.client.accessToken({ refused });
        await world.run(2500);
        expect(await token).not.toBe(refused);
        expect(b.requests.at(-1)!.at - began).toBeLessThanOrEqual(2100);
    });
});

describe('the newest wins', () => {
    test('whatever order answers come in', async () => {
        const world = new World({ leeway: 0 });
        const [a, b] = (await tabs(world, 2, { hasLocks: false })) as [Tab, Tab];
        // Both rotations happen at the gateway; the older answer comes last.
        a.fate = (path) => (path === '/refresh' ? { there: 5, back: 3000 } : OK);
        const first = a.client.accessToken({ refused: a.stored!.session!.accessToken! });
        await world.run(100);
        const second = b.client.accessToken({ refused: b.stored!.session!.accessToken! });
        await settled(world, Promise.all([first, second]), 5000);
        expect(world.gateway.falseLogouts).toBe(0);
        expect(a.stored?.session?.generation).toBe(3);
        expect(b.stored?.session?.generation).toBe(3);
        expect(a.stored).toEqual(b.stored);
    });

    test('by its generation, however often a lower one was renewed', async () => {
        const world = new World();
        const [a, b] = (await tabs(world, 2)) as [Tab, Tab];
        const entry = a.stored!;
        const at = (generation: number, renewal: number) => ({ ...entry, session: { ...entry.session!, generation, renewal } });
        a.overwrite(at(7, 1));
        await world.run(10);
        a.overwrite(at(6, 9));
        await world.run(10);
        expect([a.stored, b.stored]).toEqual([at(7, 1), at(7, 1)]);
    });

    test('over what an older tab writes later', async () => {
        const world = new World();
        const [a, b] = (await tabs(world, 2)) as [Tab, Tab];
        const old = a.stored!;
        await world.run(15 * MINUTE);
        const young = b.stored!;
        expect(young.session!.generation).toBe(2);
        a.overwrite(old);
        await world.run(100);
        expect([a.stored, b.stored]).toEqual([young, young]);
    });

    test('a second login over the refresh of the first', async () => {
        const world = new World();
        const [a, b] = (await tabs(world, 2)) as [Tab, Tab];
        a.fate = (path) => (path === '/refresh' ? { there: 5, back: 2000 } : OK);
        const token = a.client.accessToken({ refused: a.stored!.session!.accessToken! });
        await world.run(50);
        await settled(world, b.client.login({ email: 'eve@example.com', password: 'right' }), 5000);
        await token;
        for (const tab of [a, b]) expect(tab.client.state().user).toEqual({ id: 'eve@example.com' });
        expect(a.stored).toEqual(b.stored);
    });

    test('two logins at the same time end in one, the same for all', async () => {
        for (let seed = 1; seed <= 20; seed++) {
            const world = new World({ seed });
            const all = Array.from({ length: 4 }, () => world.tab({}, { newsDelay: 500 }));
            const logins = all.map((tab, i) => tab.client.login({ email: `user${i}`, password: 'right' }));
            await settled(world, Promise.all(logins), 5000);
            expect(new Set(all.map((tab) => JSON.stringify(tab.client.state()))).size).toBe(1);
            expect(new Set(all.map((tab) => JSON.stringify(tab.stored))).size).toBe(1);
        }
    });
});

describe('logout', () => {
    test('throws away a refresh that ends after it, in every tab', async () => {
        const world = new World();
        const all = await tabs(world, 3, { hasLocks: false });
        for (const tab of all) tab.fate = (path) => (path === '/refresh' ? { there: 5, back: 3000 } : OK);
        const refused = all[0]!.stored!.session!.accessToken!;
        const tokens = Promise.all(all.map((tab) => tab.client.accessToken({ refused })));
        await world.run(100);
        await settled(world, all[0]!.client.logout(), 100);
        expect(all.map(({ status }) => status)).toEqual(['signed-out', 'signed-out', 'signed-out']);
        expect(await settled(world, tokens, 5000)).toEqual([undefined, undefined, undefined]);
        expect(all.map(({ status }) => status)).toEqual(['signed-out', 'signed-out', 'signed-out']);
        expect(all.every((tab) => tab.stored?.session === undefined)).toBe(true);
        expect(all.some((tab) => tab.events.some(({ type }) => type === 'discarded'))).toBe(true);
    });

    test('is heard by a frozen tab before it does anything', async () => {
        const world = new World();
        const [a, b] = (await tabs(world, 2)) as [Tab, Tab];
        b.freeze();
        await settled(world, a.client.logout());
        await world.run(20 * MINUTE);
        b.thaw();
        await world.run(100);
        expect(b.status).toBe('signed-out');
        expect(b.refreshes()).toBe(0);
    });
});

test('a tab that slept for an hour takes what the others have', async () => {
    const world = new World();
    const [a, b] = (await tabs(world, 2)) as [Tab, Tab];
    b.freeze();
    for (let i = 0; i < 6; i++) {
        await world.run(10 * MINUTE);
        await settled(world, a.client.fetch('/api/x'));
    }
    expect(a.stored?.session?.generation).toBeGreaterThan(3);
    const answer = b.client.fetch('/api/x');
    b.thaw();
    expect((await settled(world, answer)).status).toBe(200);
    expect(world.gateway.falseLogouts).toBe(0);
});

test('a storage that someone empties counts logins anew, and the next login counts', async () => {
    const world = new World();
    const [a, b] = (await tabs(world, 2)) as [Tab, Tab];
    await settled(world, a.client.logout());
    await settled(world, a.client.login(CREDENTIALS));
    a.clear();
    expect([a.status, b.status]).toEqual(['signed-out', 'signed-out']);
    const c = world.tab();
    await settled(world, c.client.login({ email: 'eve@example.com', password: 'right' }));
    for (const tab of [a, b, c]) expect(tab.client.state().user).toEqual({ id: 'eve@example.com' });
});

test('what is no entry is ignored', async () => {
    const world = new World();
    const [a] = (await tabs(world, 1)) as [Tab];
    const junk = [
        null,
        1,
        'x',
        [],
        {},
        { epoch: 9 },
        { epoch: 'x', id: '' },
        { epoch: 9, id: '', session: {} },
        { epoch: 9, id: 'x', session: { generation: NaN, renewal: 0, receivedAt: 0 } },
    ];
    const { parse } = await import('../../src/entry.js');
    expect(junk.map(parse)).toEqual(junk.map(() => undefined));
    expect(parse(NOTHING)).toEqual(NOTHING);
    expect(parse(JSON.parse(JSON.stringify(a.stored)))).toEqual(a.stored);
});
