/** A browser that comes over from older code, with nothing but the JWT that this left in `localStorage`. */

import { createHmac } from 'node:crypto';

import type { BrowserContext } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { ADA, Rig, call, status } from './support/rig.js';

const SECRET = 'what the old service has signed with since 2019';
const LEGACY = `
[[legacy]]
name = "old-service"
algorithm = "HS256"
secret = "${SECRET}"
accepted_until = "2099-01-01"
`;

/** As the old service made them: no `iss`, no `jti`, no `typ`, and the user's id as `id`. */
function oldToken(id: string): string {
    const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const now = Math.floor(Date.now() / 1000);
    const signed = `${part({ alg: 'HS256' })}.${part({ id, iat: now - 600, exp: now + 86_400 })}`;
    return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}

/** Leaves a token where older code had it. */
async function leave(context: BrowserContext, token: string) {
    const page = await context.newPage();
    await page.goto('/public/blank.ts');
    await page.evaluate((token) => localStorage.setItem('authToken', token), token);
    await page.close();
}

describe.each([
    ['in localStorage', { storage: 'localStorage' }, {}],
    ['in cookies', { storage: 'cookie' }, { 'cookies.enabled': 'true' }],
] as const)('with new tokens %s', (_name, options, settings) => {
    let rig: Rig;
    beforeAll(async () => {
        rig = await Rig.start(() => settings, LEGACY);
    });
    afterAll(() => rig?.stop());
    beforeEach(async () => {
        await rig.clear();
        return () => expect(rig.errors).toEqual([]);
    });

    test('an old token is exchanged once, and its user stays signed in', async () => {
        const context = await rig.context();
        await leave(context, oldToken(ADA.email));
        const page = await rig.tab(context, options);
        await page.waitForFunction(() => window.client.state().status === 'signed-in');
        expect(await page.evaluate(() => window.client.fetch('/api/x').then((answer) => answer.json()))).toMatchObject({
            subject: ADA.email,
        });
        expect(await page.evaluate(() => localStorage.getItem('authToken'))).toBeNull();
        await page.reload();
        await page.evaluate((options) => window.connect(options), options);
        expect([await status(page), await call(page)]).toEqual(['signed-in', 200]);
        expect(rig.proxy.requests.filter((line) => line === 'POST /refresh').length).toBe(1);
    });

    test('two tabs that find it at once end with one session', async () => {
        const context = await rig.context();
        await leave(context, oldToken('grace@example.com'));
        const pages = await Promise.all([rig.tab(context, options), rig.tab(context, options)]);
        for (const page of pages) await page.waitForFunction(() => window.client.state().status === 'signed-in');
        expect([await call(pages[0]), await call(pages[1])]).toEqual([200, 200]);
        expect((await pages[0].evaluate(() => window.client.sessions())).length).toBe(1);
    });

    test('one that is worth nothing is removed', async () => {
        const context = await rig.context();
        await leave(context, `${oldToken(ADA.email)}x`);
        const page = await rig.tab(context, options);
        await page.waitForFunction(() => window.client.state().status === 'signed-out');
        expect(await page.evaluate(() => localStorage.getItem('authToken'))).toBeNull();
    });
});
