/** Chromium, and a login page that goes on to wherever it is told: with the gateway before it, that is the same host by any spelling. */

import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';

import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { type Running, startGateway } from './support/processes.js';
import { launch } from './support/rig.js';
import { startApi } from './support/servers.js';

const FOLLOW = '/public/follow.ts';
/** Values of the parameter that lead elsewhere, to some reader. */
const ELSEWHERE = readFileSync(join(import.meta.dirname, '../../../../src/domain/sign_in/elsewhere.txt'), 'utf8')
    .trimEnd()
    .split('\n');

let [browser, api, gateway]: [Browser?, Running?, Running?] = [];

beforeAll(async () => {
    api = await startApi();
    gateway = await startGateway(api.url, { 'cookies.enabled': 'true', 'routes.1.sign_in': `${FOLLOW}?next={path}` });
    browser = await launch();
});
afterAll(async () => {
    await browser?.close();
    await gateway?.stop();
    await api?.stop();
});

/** Of the values, those that the login page of this host would follow to elsewhere, or to a script: as Chromium reads addresses. */
async function followed(origin: string, values: string[]): Promise<string[]> {
    const page = await browser!.newPage();
    await page.goto(`${origin}/public/blank.ts`);
    const left = await page.evaluate(
        async ([path, values]) => {
            const leads = async (value: string) => {
                const { url } = await fetch(`${path}?next=${value}`);
                const next = new URL(url).searchParams.get('next') ?? '/';
                // Of what is no address, a page makes nothing.
                return URL.canParse(next, location.href) && new URL(next, location.href).origin !== location.origin;
            };
            const all = await Promise.all(values.map(leads));
            return values.filter((_, index) => all[index]);
        },
        [FOLLOW, values] as const,
    );
    await page.close();
    return left;
}

test('a hundred spellings lead nowhere else, of which half lead away without the gateway', async () => {
    expect(ELSEWHERE.length).toBeGreaterThanOrEqual(100);
    expect(await followed(gateway!.url, ELSEWHERE)).toEqual([]);
    expect((await followed(api!.url, ELSEWHERE)).length).toBeGreaterThan(ELSEWHERE.length / 2);
});

test.each(['//evil.example', '/%5Cevil.example', 'javascript:alert(1)', '%09//evil.example'])(
    'the page follows %s in earnest',
    async (value) => {
        /** Where the page gets, and whether it ran a script on its way. */
        const follow = async (origin: string) => {
            const page = await browser!.newPage();
            let ran = false;
            page.on('dialog', (dialog) => {
                ran = true;
                void dialog.dismiss();
            });
            // Nothing of the kind is there, and nobody is asked for its name.
            await page.route(
                (url) => url.origin !== origin,
                (route) => route.fulfill({ contentType: 'text/html', body: 'elsewhere' }),
            );
            await page.goto(`${origin}${FOLLOW}?next=${value}`);
            await expect.poll(() => ran || new URL(page.url()).pathname !== FOLLOW, { timeout: 10_000 }).toBe(true);
            const left = ran || new URL(page.url()).origin !== origin;
            await page.close();
            return left;
        };
        expect([await follow(gateway!.url), await follow(api!.url)]).toEqual([false, true]);
    },
);

/** Where a browser is sent that asks for this, in raw words; `undefined`: nowhere. */
function sent(target: string): Promise<string | undefined> {
    return new Promise((resolve, reject) => {
        const { hostname, port } = new URL(gateway!.url);
        const asked = request({ hostname, port, path: target, headers: { 'sec-fetch-mode': 'navigate' } }, (response) => {
            response.resume();
            resolve(response.headers.location);
        });
        asked.on('error', reject).end();
    });
}

test('whatever a browser asked for, it is sent to the login page of the host, and from there back to the host', async () => {
    const { origin } = new URL(gateway!.url);
    let redirects = 0;
    for (const value of ELSEWHERE) {
        const targets = [`/${value}`, `/x?next=${value}`, `${FOLLOW}?next=${value}`, `${FOLLOW}?a=1&NEXT=${value}&next=${value}`];
        for (const target of value.startsWith('/') ? [value, ...targets] : targets) {
            const location = await sent(target);
            if (location === undefined) continue;
            redirects++;
            const login = new URL(location, gateway!.url);
            expect([target, login.origin, login.pathname]).toEqual([target, origin, FOLLOW]);
            for (const next of login.searchParams.getAll('next'))
                expect([target, new URL(next, login).origin]).toEqual([target, origin]);
        }
    }
    expect(redirects).toBeGreaterThan(2 * ELSEWHERE.length);
});
