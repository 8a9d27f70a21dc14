/** The single-page applications in `examples/`, in Chromium, before the gateway and a real API: the same for all of them. */

import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { type Running, freePort } from '../browser/support/processes.js';
import { launch } from '../browser/support/rig.js';
import { type Api, startApi, startGateway, startPages } from './stage.js';
import { authenticator } from './totp.js';

const PASSWORD = 'correct horse';
/** Longer than the access tokens of the examples live. */
const TOKEN_LIFETIME = 300_000;

interface FrontEnd {
    pages: Running;
    gateway: Running;
    /** Where users open it. */
    url: string;
}

/** Page and API are of different origins, and tokens in `localStorage`. */
async function react(api: Api): Promise<FrontEnd> {
    const port = await freePort();
    const origin = `http://127.0.0.1:${port}`;
    const gateway = await startGateway('react', { 'upstreams.api.url': api.url, 'cors.allowed_origins': `["${origin}"]` });
    const pages = await startPages('react', port, { VITE_API: gateway.url });
    return { pages, gateway, url: origin };
}

/** Both come from the gateway, and tokens are in cookies. */
async function vue(api: Api): Promise<FrontEnd> {
    const pages = await startPages('vue', await freePort());
    const gateway = await startGateway('vue', { 'upstreams.api.url': api.url, 'upstreams.pages.url': pages.url });
    return { pages, gateway, url: gateway.url };
}

/** What a thief would have: the headers of a request that carries the page's token. */
async function stolen(context: BrowserContext, page: Page, isCookie: boolean): Promise<Record<string, string>> {
    if (!isCookie) {
        const entry = await page.evaluate(() => localStorage.getItem('tokengate'));
        return { authorization: `Bearer ${JSON.parse(entry!).session.accessToken}` };
    }
    const cookies = await context.cookies();
    return { cookie: cookies.map(({ name, value }) => `${name}=${value}`).join('; ') };
}

describe.each([
    ['React', react, false],
    ['Vue', vue, true],
] as const)('%s', (_, start, isCookie) => {
    let [browser, api, frontEnd]: [Browser?, Api?, FrontEnd?] = [];

    beforeAll(async () => {
        api = await startApi();
        frontEnd = await start(api);
        browser = await launch();
    });

    afterAll(async () => {
        await browser?.close();
        for (const part of [frontEnd?.gateway, frontEnd?.pages, api]) await part?.stop();
    });

    /** A browser of its own, with the page open and its failures noted. */
    async function opened() {
        const context = await browser!.newContext();
        const errors: string[] = [];
        context.on('weberror', (error) => errors.push(String(error.error())));
        const page = await context.newPage();
        await page.clock.install();
        await page.goto(frontEnd!.url);
        return { context, page, errors };
    }

    async function enter(page: Page, email: string, button: 'Log in' | 'Register', password = PASSWORD) {
        await page.getByLabel('E-mail').fill(email);
        await page.getByLabel('Password').fill(password);
        await page.getByRole('button', { name: button }).click();
    }

    const signedIn = (page: Page, email: string) => page.getByText(`Signed in as ${email}`).waitFor();

    async function addNote(page: Page, text: string) {
        await page.getByLabel('Note', { exact: true }).fill(text);
        await page.getByRole('button', { name: 'Add' }).click();
        await page.getByText(text).waitFor();
    }

    const status = async (headers: Record<string, string>, path = '/me') =>
        (await fetch(frontEnd!.gateway.url + path, { headers })).status;

    test('a session survives a reload and the end of its token, and is that of all tabs', async () => {
        const { context, page, errors } = await opened();
        await enter(page, 'ann@example.com', 'Register');
        await signedIn(page, 'ann@example.com');
        await addNote(page, 'buy milk');
        await page.reload();
        await page.getByText('buy milk').waitFor();

        const before = await stolen(context, page, isCookie);
        const refreshed = page.waitForResponse((response) => new URL(response.url()).pathname === '/refresh');
        await page.clock.fastForward(TOKEN_LIFETIME);
        expect((await refreshed).status()).toBe(200);
        await addNote(page, 'bake bread');
        expect(await stolen(context, page, isCookie)).not.toEqual(before);

        const other = await context.newPage();
        await other.goto(frontEnd!.url);
        await other.getByText('bake bread').waitFor();
        const last = await stolen(context, page, isCookie);
        expect(await status(last)).toBe(200);
        await page.getByRole('button', { name: 'Log out', exact: true }).click();
        await Promise.all([page, other].map((tab) => tab.getByLabel('E-mail').waitFor()));
        await expect.poll(() => status(last)).toBe(401);
        expect(errors).toEqual([]);
    });

    test('a second factor is asked for, and the role of the login opens what it is for', async () => {
        const { context, page, errors } = await opened();
        const email = 'gwen@example.com';
        await enter(page, email, 'Register');
        await signedIn(page, email);
        expect(await status(await stolen(context, page, isCookie), '/admin/users')).toBe(403);
        expect(await page.getByText('Users').count()).toBe(0);
        await page.getByRole('button', { name: 'Set up' }).click();
        const code = authenticator((await page.locator('code').textContent())!);
        await page.getByLabel('First code').fill(code());
        await page.getByRole('button', { name: 'Confirm' }).click();
        await page.getByText('It is asked for at the next login.').waitFor();
        api!.promote(email);
        await page.getByRole('button', { name: 'Log out', exact: true }).click();

        await enter(page, email, 'Log in', 'wrong');
        await page.getByRole('alert').waitFor();
        await enter(page, email, 'Log in');
        await page.getByLabel('Code').fill(code());
        await page.getByRole('button', { name: 'Log in' }).click();
        await page.getByText(`${email} (admin)`).waitFor();
        expect(await status(await stolen(context, page, isCookie), '/admin/users')).toBe(200);
        expect(errors).toEqual([]);
    });
});
