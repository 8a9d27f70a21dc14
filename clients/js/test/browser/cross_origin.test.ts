/** A page of another origin than the gateway's, with tokens in its own hands. */

import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';

import { type Running } from './support/processes.js';
import { ADA, Rig, call, spoilAccessToken, status } from './support/rig.js';
import { startApi } from './support/servers.js';

let rig: Rig;
/** Not on the list. */
let stranger: Running;

beforeAll(async () => {
    stranger = await startApi();
    rig = await Rig.start((api) => ({ 'cors.allowed_origins': api }));
});
afterAll(async () => {
    await rig?.stop();
    await stranger?.stop();
});
beforeEach(async () => {
    await rig.clear();
    return () => expect(rig.errors).toEqual([]);
});

const elsewhere = () => ({ baseUrl: rig.proxy.url });

test('logs in, calls the API, and repeats what was refused', async () => {
    const page = await rig.tab(await rig.context(), elsewhere(), rig.api.url);
    await page.evaluate((credentials) => window.client.login(credentials), ADA);
    expect(await call(page)).toBe(200);
    await spoilAccessToken(page, elsewhere());
    expect(await call(page)).toBe(200);
    expect(rig.proxy.refreshes.length).toBe(1);
    expect(rig.proxy.answers).toContain('GET /api/x 401');
    expect(rig.proxy.requests).toContain('OPTIONS /api/x');
});

test('can read why a login was refused', async () => {
    const page = await rig.tab(await rig.context(), elsewhere(), rig.api.url);
    const refused = page.evaluate(
        (credentials) => window.client.login(credentials).catch((error) => [error.code, error.status, error.message]),
        { ...ADA, password: 'wrong' },
    );
    expect(await refused).toEqual(['refused', 401, 'wrong password']);
});

test('that is not listed can do neither', async () => {
    const page = await rig.tab(await rig.context(), elsewhere(), stranger.url);
    const outcome = page.evaluate((credentials) => window.client.login(credentials).catch((error) => error.name), ADA);
    expect(await outcome).toBe('TypeError');
    expect([await status(page), await call(page)]).toEqual(['signed-out', 'TypeError']);
});
