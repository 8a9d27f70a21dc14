import { get } from 'svelte/store';
import { describe, expect, test } from 'vitest';

import { authStore } from '../../src/svelte.js';
import { World, settled } from './world.js';

const ADA = { email: 'ada@example.com', password: 'right' };

describe('the store for Svelte', () => {
    test('tells at once, and after every change', async () => {
        const world = new World();
        const { client } = world.tab();
        const auth = authStore<{ id: string }>(client);
        const told: string[] = [];
        const stop = auth.subscribe(({ status, user }) => told.push(`${status} ${user?.id ?? ''}`.trim()));
        await settled(world, auth.login(ADA));
        expect(get(auth)).toEqual({ status: 'signed-in', user: { id: ADA.email } });
        stop();
        await settled(world, auth.logout());
        expect(told).toEqual(['signed-out', 'signed-in ada@example.com']);
        expect(get(auth).status).toBe('signed-out');
    });
});
