/** Random tabs, networks, sleeps and clocks: an honest browser is never logged out, and a logout is final. */

import { expect, test } from 'vitest';

import { type Fate, type Random, type Tab, World, random } from './world.js';
import { json } from './gateway.js';

const WORLDS = 400;
const STEPS = 25;
const LEEWAY = 30_000;
/** However slow the network is: a request arrives before its client's give-up and the leeway are over. */
const WAY_MAX = 9_000;

function fate(chance: Random): Fate {
    const way = () => (chance() < 0.7 ? 5 : chance() * WAY_MAX);
    const [there, back, dice] = [way(), way(), chance()];
    if (dice < 0.1) return { there, back, losesRequest: true };
    if (dice < 0.25) return { there, back, losesReply: true };
    if (dice < 0.3) return { there, back, answer: () => json(503, {}, { 'retry-after': '1' }) };
    if (dice < 0.33) return { there, back, answer: () => json(429, {}, { 'retry-after': '3' }) };
    if (dice < 0.36) return { there, back, answer: () => new Response('<html>', { status: 502 }) };
    return { there, back };
}

async function live(seed: number): Promise<World> {
    const chance = random(seed);
    const world = new World({ seed: seed + 1_000_000, leeway: LEEWAY, lifetime: chance() < 0.5 ? 60_000 : 300_000 });
    const pick = <T>(list: readonly T[]): T => list[Math.floor(chance() * list.length)]!;
    const habits = { hasChannel: chance() < 0.7, hasLocks: chance() < 0.5, newsDelay: chance() * 100 };
    const open = () => world.tab({}, { ...habits, fate: (path) => (path === '/login' ? { there: 5, back: 5 } : fate(chance)) });

    const first = open();
    const login = first.client.login({ email: 'ada', password: 'right' });
    await world.run(1000);
    await login;
    const calls: Array<Promise<unknown>> = [];
    const frozen = new Set<Tab>();
    for (let step = 0; step < STEPS; step++) {
        const tab = pick(world.tabs);
        const dice = chance();
        if (dice < 0.15 && world.tabs.length < 8) open();
        else if (dice < 0.3) frozen.add(tab).forEach((tab) => tab.freeze());
        else if (dice < 0.45) frozen.forEach((tab) => frozen.delete(tab) && tab.thaw());
        else if (dice < 0.55) tab.setOffline(!tab.isOffline);
        else if (dice < 0.6) world.wallShift += (chance() - 0.5) * 7_200_000;
        else calls.push(tab.client.fetch(`/api/${step}`).catch(() => undefined));
        await world.run(chance() < 0.5 ? chance() * 5_000 : chance() * 120_000);
    }
    // A clear day again.
    frozen.forEach((tab) => tab.thaw());
    for (const tab of world.tabs) {
        tab.setOffline(false);
        tab.fate = () => ({ there: 5, back: 5 });
    }
    await world.run(90_000);
    await Promise.all(calls);
    return world;
}

test.each([0, 1, 2, 3, 4])('no honest browser is ever logged out (%i)', { timeout: 120_000 }, async (part) => {
    for (let seed = part; seed < WORLDS; seed += 5) {
        const world = await live(seed);
        expect(world.gateway.falseLogouts, `seed ${seed}`).toBe(0);
        expect(new Set(world.tabs.map(({ status }) => status)), `seed ${seed}`).toEqual(new Set(['signed-in']));
        const answers = Promise.all(world.tabs.map((tab) => tab.client.fetch('/api/last')));
        await world.run(5000);
        expect(
            (await answers).every(({ ok }) => ok),
            `seed ${seed}`,
        ).toBe(true);
        const rotationsMax = world.now / LEEWAY + 1;
        expect(world.gateway.rotations, `seed ${seed}`).toBeLessThanOrEqual(rotationsMax);

        const leaving = world.tabs[seed % world.tabs.length]!;
        for (const tab of world.tabs) tab.fate = () => ({ there: 5, back: 2000 });
        const refused = leaving.stored!.session!.accessToken!;
        const under = world.tabs.map((tab) => tab.client.accessToken({ refused }).catch(() => undefined));
        await world.run(200);
        const logout = leaving.client.logout();
        await world.run(60_000);
        await Promise.all([logout, ...under]);
        expect(new Set(world.tabs.map(({ status }) => status)), `seed ${seed}`).toEqual(new Set(['signed-out']));
        expect(
            world.tabs.some((tab) => tab.stored?.session),
            `seed ${seed}`,
        ).toBe(false);
    }
});
