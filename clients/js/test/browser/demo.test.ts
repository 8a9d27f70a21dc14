/** The demo's page as its visitor meets it: `tokengate demo`, and a browser. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';

import { startDemo } from './support/processes.js';
import { launch } from './support/rig.js';

const SCREENSHOTS = join(import.meta.dirname, '../../test-results');
const complaints: string[] = [];
let demo: Awaited<ReturnType<typeof startDemo>>;
let browser: Browser;

beforeAll(async () => {
    demo = await startDemo();
    browser = await launch();
});
afterAll(async () => {
    await browser?.close();
    await demo?.stop();
});
afterEach(async () => {
    for (const context of browser.contexts()) await context.close();
    expect(complaints.splice(0)).toEqual([]);
});

async function open(context: BrowserContext): Promise<Page> {
    const page = await context.newPage();
    // What the network says is for the page to handle; the browser notes it all the same.
    page.on('console', (message) => {
        const isOurs = ['error', 'warning'].includes(message.type()) && !message.text().startsWith('Failed to load resource');
        if (isOurs) complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(String(error)));
    await page.goto(demo.url);
    return page;
}

async function logIn(page: Page) {
    await page.getByRole('button', { name: 'Fill in' }).click();
    await page.locator('#submit').click();
    await page.getByRole('heading', { name: 'Ada' }).waitFor();
}

const said = (page: Page, text: string | RegExp) => page.locator('#log li', { hasText: text }).first().waitFor();

test('it logs in, counts down to the next refresh, and tells what the client does', async () => {
    const page = await open(await browser.newContext());
    expect(demo.banner).toContain('open it in a browser');
    await logIn(page);
    await said(page, 'Signed in');
    const seconds = async () => {
        const [, minutes, rest] = /^(\d+):(\d\d)$/.exec((await page.locator('#countdown').textContent())!) ?? [];
        return Number(minutes) * 60 + Number(rest);
    };
    await page.waitForFunction(() => /^0:\d\d$/.test(document.querySelector('#countdown')!.textContent!));
    const before = await seconds();
    expect(before).toBeGreaterThan(30);
    await page.waitForTimeout(2100);
    expect(before - (await seconds())).toBeGreaterThanOrEqual(1);
    await page.getByRole('button', { name: 'Refresh now' }).click();
    await said(page, 'Refreshed: generation 2');
    await page.getByRole('button', { name: 'Call the API' }).click();
    await said(page, 'GET /api/me: 200');
    await page.reload();
    await page.getByRole('heading', { name: 'Ada' }).waitFor();
});

test('it registers, and says why it does not', async () => {
    const page = await open(await browser.newContext());
    await page.getByRole('tab', { name: 'Register' }).click();
    await page.getByLabel('Name').fill('Grace');
    await page.getByLabel('Email').fill('ada@example.com');
    await page.getByLabel('Password').fill('a long secret');
    await page.locator('#submit').click();
    await page.getByText('A user has this email already.').waitFor();
    await page.getByLabel('Email').fill('grace@example.com');
    await page.locator('#submit').click();
    await page.getByRole('heading', { name: 'Grace' }).waitFor();
});

test('two tabs converge: a refresh, a logout and a login in one are seen in the other', async () => {
    const context = await browser.newContext();
    const [a, b] = [await open(context), await open(context)];
    await logIn(a);
    await b.getByRole('heading', { name: 'Ada' }).waitFor();
    await a.getByRole('button', { name: 'Refresh now' }).click();
    await said(b, 'Another tab has refreshed: generation 2');
    const token = (page: Page) => page.locator('#token').textContent();
    await a.waitForTimeout(600);
    expect(await token(a)).toBe(await token(b));
    await b.getByRole('button', { name: 'Log out here' }).click();
    await a.getByText('You were logged out in another tab.').waitFor();
    await logIn(b);
    await a.getByRole('heading', { name: 'Ada' }).waitFor();
});

test('a device ends another, and its event stream with it', async () => {
    const [here, there] = [await open(await browser.newContext()), await open(await browser.newContext())];
    await logIn(here);
    await here.getByRole('button', { name: 'Log out everywhere' }).click();
    await here.locator('#submit').waitFor();
    await logIn(here);
    await logIn(there);
    await there.locator('#stream-state[data-is=open]').waitFor();
    await there.locator('#beats .beat').first().waitFor();
    await here.getByRole('button', { name: 'Refresh now' }).click();
    await here.getByRole('button', { name: 'End this session' }).click();
    await there.getByText('This session was ended from another device.').waitFor();
    await here.locator('#devices li').nth(1).waitFor({ state: 'detached' });
    expect(await here.locator('#devices li').count()).toBe(1);
});

test('logging out everywhere ends all of them', async () => {
    const pages = [await open(await browser.newContext()), await open(await browser.newContext())] as const;
    for (const page of pages) await logIn(page);
    await pages[0].getByRole('button', { name: 'Log out everywhere' }).click();
    await pages[0].locator('#submit').waitFor();
    await pages[1].getByText('This session was ended from another device.').waitFor();
});

test('its policy lets in no script of anyone else', async () => {
    const page = await open(await browser.newContext());
    const answer = await page.request.get(demo.url);
    expect(answer.headers()['content-security-policy']).toContain("default-src 'none'");
    const outcome = await page.evaluate(() => {
        const blocked = new Promise((resolve) =>
            addEventListener('securitypolicyviolation', (event) => resolve(event.violatedDirective)),
        );
        const script = document.createElement('script');
        document.head.append(script);
        try {
            script.textContent = 'document.title = "owned"';
        } catch {
            return Promise.resolve('refused as untrusted');
        }
        return blocked;
    });
    expect(outcome).toBe('refused as untrusted');
    expect(await page.title()).toBe('Tokengate demo');
    complaints.length = 0;
});

test.each([
    ['wide', 1280, 860],
    ['narrow', 390, 844],
    ['very narrow', 320, 640],
] as const)('it fits a %s window, light and dark', async (name, width, height) => {
    mkdirSync(SCREENSHOTS, { recursive: true });
    for (const colorScheme of ['light', 'dark'] as const) {
        const page = await open(await browser.newContext({ viewport: { width, height }, colorScheme }));
        const shoot = async (part: string) => {
            const path = join(SCREENSHOTS, `demo-${part}-${name.replace(' ', '-')}-${colorScheme}.png`);
            await page.screenshot({ path, fullPage: true });
            expect(await page.evaluate(() => document.documentElement.scrollWidth), `${part} ${colorScheme}`).toBeLessThanOrEqual(
                width,
            );
        };
        await page.locator('#submit').waitFor();
        await shoot('door');
        await logIn(page);
        await page.getByRole('button', { name: 'Refresh now' }).click();
        await said(page, 'Refreshed');
        await page.locator('#beats .beat').nth(2).waitFor();
        await shoot('room');
        const [paper, ink] = await page.evaluate(() => {
            const { backgroundColor, color } = getComputedStyle(document.body);
            return [backgroundColor, color].map((text) => text.match(/\d+/g)!.reduce((sum, part) => sum + Number(part), 0));
        });
        expect(Math.sign(paper! - ink!)).toBe(colorScheme === 'light' ? 1 : -1);
        expect(Math.abs(paper! - ink!)).toBeGreaterThan(450);
    }
});
