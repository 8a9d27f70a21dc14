/** Cookie mode in Chromium: no script sees a token, and no other site can use one. */

import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';

import { type Running, until } from './support/processes.js';
import { ADA, HASTY, Rig, call, status } from './support/rig.js';
import { startApi } from './support/servers.js';

const COOKIES = { storage: 'cookie' } as const;
let rig: Rig;
/** Another site that means harm. */
let evil: Running;

beforeAll(async () => {
    evil = await startApi();
    rig = await Rig.start((api) => ({
        'tokens.lifetime': '1m',
        'refresh.leeway': '6s',
        'cookies.enabled': 'true',
        'cors.allowed_origins': api,
        'cors.allow_credentials': 'true',
    }));
});
afterAll(async () => {
    await rig?.stop();
    await evil?.stop();
});
beforeEach(async () => {
    await rig.clear();
    return () => expect(rig.errors).toEqual([]);
});

test('no script can read a token, and calls go through', async () => {
    const context = await rig.context();
    const page = await rig.signedIn(COOKIES, context);
    expect(await page.evaluate(() => document.cookie)).toBe('');
    expect(await page.evaluate(() => JSON.stringify({ ...localStorage }))).not.toMatch(/tgr_|eyJ|oken"/);
    expect((await context.cookies()).map(({ name, httpOnly, sameSite }) => [name, httpOnly, sameSite])).toEqual([
        ['__Host-access', true, 'Lax'],
        ['__Host-refresh', true, 'Lax'],
    ]);
    expect(await call(page)).toBe(200);
    await page.reload();
    await page.evaluate((options) => window.connect(options), COOKIES);
    expect([await status(page), await call(page)]).toEqual(['signed-in', 200]);
});

test('cookies are refreshed before their end, in one tab for all', async () => {
    const context = await rig.context();
    const [a, b] = [await rig.signedIn({ ...COOKIES, ...HASTY }, context), await rig.tab(context, { ...COOKIES, ...HASTY })];
    const first = (await context.cookies()).map(({ value }) => value);
    await until(() => rig.proxy.refreshes.length >= 3, 'three refreshes');
    expect(rig.proxy.refreshes.every(({ status, presented }) => status === 200 && presented === undefined)).toBe(true);
    expect((await context.cookies()).map(({ value }) => value)).not.toEqual(first);
    expect([await call(a), await call(b), await status(a), await status(b)]).toEqual([200, 200, 'signed-in', 'signed-in']);
});

test('a request without its cookie is repeated after a refresh', async () => {
    const context = await rig.context();
    const page = await rig.signedIn(COOKIES, context);
    await context.clearCookies({ name: '__Host-access' });
    const calls = () =>
        Promise.all(Array.from({ length: 20 }, (_, i) => window.client.fetch(`/api/${i}`).then(({ status }) => status)));
    expect(await page.evaluate(calls)).toEqual(Array(20).fill(200));
    expect(rig.proxy.refreshes.length).toBe(1);
});

test('logout takes the cookies away, in all tabs', async () => {
    const context = await rig.context();
    const [a, b] = [await rig.signedIn(COOKIES, context), await rig.tab(context, COOKIES)];
    expect(await a.evaluate(() => window.client.logout())).toEqual({ ended: 1 });
    await b.waitForFunction(() => window.client.state().status === 'signed-out');
    expect(await context.cookies()).toEqual([]);
    expect(await call(b)).toBe(401);
});

test.each(['/logout', '/refresh'])('another site cannot make the browser call %s', async (path) => {
    const context = await rig.context();
    const page = await rig.signedIn(COOKIES, context);
    const attacker = await context.newPage();
    await attacker.goto(`${evil.url}/public/blank.ts`);
    const target = rig.proxy.url + path;
    await attacker.evaluate((target) => fetch(target, { method: 'POST', mode: 'no-cors', credentials: 'include' }), target);
    await Promise.all([
        attacker.waitForNavigation(),
        attacker.evaluate((target) => {
            const form = Object.assign(document.createElement('form'), { method: 'POST', action: target });
            document.body.append(form);
            form.submit();
        }, target),
    ]);
    expect(rig.proxy.answers.filter((line) => line.startsWith(`POST ${path}`))).toEqual([`POST ${path} 403`, `POST ${path} 403`]);
    // The cookies did come along: on loopback, another port is the same site.
    expect([await call(page), await status(page)]).toEqual([200, 'signed-in']);
});

test('another site cannot read what the gateway answers', async () => {
    const context = await rig.context();
    await rig.signedIn(COOKIES, context);
    const attacker = await context.newPage();
    await attacker.goto(`${evil.url}/public/blank.ts`);
    const read = (path: string) =>
        attacker.evaluate(
            (url) =>
                fetch(url, { credentials: 'include' }).then(
                    () => 'read',
                    () => 'refused',
                ),
            rig.proxy.url + path,
        );
    expect(await read('/sessions')).toBe('refused');
});

test('a listed origin may log in, list devices and log out across origins', async () => {
    const context = await rig.context();
    const page = await rig.tab(context, { ...COOKIES, baseUrl: rig.proxy.url }, rig.api.url);
    await page.evaluate((credentials) => window.client.login(credentials), ADA);
    const devices = await page.evaluate(() => window.client.sessions());
    expect(devices.filter(({ current }) => current).length).toBe(1);
    expect(await page.evaluate(() => window.client.logout())).toEqual({ ended: 1 });
    expect(await status(page)).toBe('signed-out');
});
