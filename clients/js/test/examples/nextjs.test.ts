/** `examples/nextjs` in Chromium, before the gateway and a real API, with tokens that live 5 seconds. */

import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';

import type { Running } from '../browser/support/processes.js';
import { pause } from '../browser/support/servers.js';
import { launch } from '../browser/support/rig.js';
import { type Api, startApi, startGateway, startNext } from './stage.js';

const PASSWORD = 'correct horse';
/** Until an access token of 5 s has expired, whenever in its second it was issued. */
const EXPIRY = 5_100;

let [browser, api, pages, gateway]: [Browser?, Api?, Running?, Running?] = [];
/** What failed in pages. */
let errors: string[] = [];

beforeAll(async () => {
    api = await startApi();
    pages = await startNext('nextjs', { API_URL: api.url });
    gateway = await startGateway('nextjs', {
        'upstreams.api.url': api.url,
        'upstreams.pages.url': pages.url,
        'tokens.lifetime': '5s',
        'cookies.refresh_ahead': '1s',
        // Next.js lets no browser keep a page that was rendered for somebody: one that may be kept is the harder case.
        'routes.2.response_headers.set': '{ "cache-control" = "private, no-cache" }',
        'limits.refresh.per_account': '',
        'limits.login.per_address': '',
    });
    // Playwright switches the back/forward cache off.
    browser = await launch(['--disable-back-forward-cache']);
});
afterAll(async () => {
    await browser?.close();
    for (const part of [gateway, pages, api]) await part?.stop();
});
beforeEach(() => {
    errors = [];
});

/** A tab whose failures are noted. */
async function opened(context: BrowserContext, path = '/'): Promise<Page> {
    const page = await context.newPage();
    page.on('pageerror', (error) => errors.push(String(error)));
    await page.goto(gateway!.url + path);
    return page;
}

async function enter(page: Page, email: string, button: 'Log in' | 'Register') {
    await page.getByLabel('E-mail').fill(email);
    await page.getByLabel('Password').fill(PASSWORD);
    await page.getByRole('button', { name: button }).click();
}

const signedIn = (page: Page, email: string) => page.getByText(`Signed in as ${email}`).waitFor();

async function registered(email: string, path = '/'): Promise<[BrowserContext, Page]> {
    const context = await browser!.newContext();
    const page = await opened(context, path);
    await enter(page, email, 'Register');
    await signedIn(page, email);
    return [context, page];
}

async function addNote(page: Page, text: string) {
    await page.getByLabel('Note', { exact: true }).fill(text);
    await page.getByRole('button', { name: 'Add' }).click();
    await page.getByRole('listitem').filter({ hasText: text }).waitFor();
}

const refreshCookie = async (context: BrowserContext) =>
    (await context.cookies()).find(({ name }) => name === '__Host-refresh')?.value;
const where = (page: Page) => page.url().slice(gateway!.url.length);

test('pages, server actions and fetches go on when the token has expired, and no script sees one', async () => {
    const [context, page] = await registered('ann@example.com', '/account');
    expect(where(page)).toBe('/account');
    await page.getByText('ann@example.com (user)').waitFor();
    expect(await page.evaluate(() => document.cookie)).toBe('');
    const first = await refreshCookie(context);

    await pause(EXPIRY);
    await page.goto(gateway!.url);
    await signedIn(page, 'ann@example.com');
    expect(await refreshCookie(context)).not.toBe(first);
    await pause(EXPIRY);
    await addNote(page, 'buy milk');
    await pause(EXPIRY);
    await page.getByRole('link', { name: 'Account' }).click();
    await page.getByRole('heading', { name: 'Account' }).waitFor();
    await page.getByRole('link', { name: 'Notes' }).click();
    await page.getByText('buy milk').waitFor();
    await page.getByLabel('Search').pressSequentially('milk');
    await page.getByText('1 found').waitFor();
    expect(errors).toEqual([]);
});

test('fetches at once, in two tabs, are one session that stays', async () => {
    const [context, page] = await registered('ben@example.com');
    const other = await opened(context);
    await signedIn(other, 'ben@example.com');
    const ask = (page: Page) =>
        page.evaluate(() =>
            Promise.all(Array.from({ length: 25 }, (_, i) => fetch(`/api/notes?contains=${i}`).then((r) => r.status))),
        );
    await pause(EXPIRY);
    expect((await Promise.all([ask(page), ask(other)])).flat()).toEqual(Array(50).fill(200));
    await addNote(other, 'from the other tab');
    await page.reload();
    await page.getByText('from the other tab').waitFor();
    expect(errors).toEqual([]);
});

test('a page out of the back/forward cache works on, and after a logout shows nothing of its user', async () => {
    const [context, page] = await registered('cleo@example.com');
    await addNote(page, 'a secret');
    const mark = () => addEventListener('pageshow', ({ persisted }) => persisted && document.body.classList.add('restored'));
    const back = () => page.evaluate(() => history.back());
    await page.evaluate(mark);
    await page.goto(`${gateway!.url}/account`);
    await page.getByRole('heading', { name: 'Account' }).waitFor();
    await pause(EXPIRY);
    await back();
    await page.locator('body.restored').waitFor();
    await addNote(page, 'after the way back');

    await page.goto(`${gateway!.url}/account`);
    await page.getByRole('heading', { name: 'Account' }).waitFor();
    const other = await opened(context);
    await other.getByRole('button', { name: 'Log out', exact: true }).click();
    await other.getByRole('heading', { name: 'Log in' }).waitFor();
    expect([where(other), await context.cookies()]).toEqual(['/login', []]);
    await back();
    await page.getByRole('heading', { name: 'Log in' }).waitFor();
    expect(await page.getByText('a secret').count()).toBe(0);
    expect(errors).toEqual([]);
});

test('a logout elsewhere is noticed by a tab that comes to the front, and by whatever is asked for', async () => {
    const [context, page] = await registered('dan@example.com');
    const tabs = await Promise.all([opened(context), opened(context), opened(context, '/account')]);
    await Promise.all(tabs.map((tab) => signedIn(tab, 'dan@example.com')));
    await page.getByRole('button', { name: 'Log out everywhere' }).click();
    await page.getByRole('heading', { name: 'Log in' }).waitFor();
    const [acting, shown, walking] = tabs as [Page, Page, Page];
    // By a server action, by a link, by being looked at.
    await acting.getByLabel('Note', { exact: true }).fill('too late');
    await acting.getByRole('button', { name: 'Add' }).click();
    await walking.getByRole('link', { name: 'Notes' }).click();
    await shown.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
    for (const tab of tabs) await tab.getByRole('heading', { name: 'Log in' }).waitFor();
    expect([acting, shown, walking].map(where)).toEqual(['/login?next=/', '/login?next=/', '/login?next=/']);
    const fetched = await shown.evaluate(() =>
        fetch('/api/notes').then(async (answer) => [answer.status, (await answer.json()).code]),
    );
    expect(fetched).toEqual([401, 'token_missing']);

    // And another user is not shown what was made for the first.
    await enter(shown, 'eve@example.com', 'Register');
    await signedIn(shown, 'eve@example.com');
});

test('the login leads to where the user wanted to go, and to no other host', async () => {
    const [context, page] = await registered('fay@example.com', '/login?next=//evil.example');
    expect(where(page)).toBe('/');
    await context.clearCookies();
    await page.goto(`${gateway!.url}/account?from=mail&x=//evil.example`);
    expect(where(page)).toBe('/login?next=/account%3Ffrom%3Dmail%26x%3D//evil.example');
    await enter(page, 'fay@example.com', 'Log in');
    await signedIn(page, 'fay@example.com');
    expect(where(page)).toBe('/account?from=mail&x=//evil.example');
    expect(errors).toEqual([]);
});
