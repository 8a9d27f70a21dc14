/** A browser before a fault proxy before a gateway before an API. */

import { type Browser, type BrowserContext, type Page, chromium } from 'playwright-core';

import type { Client, ClientEvent, ClientOptions } from '../../../src/index.js';
import { type Running, startGateway } from './processes.js';
import { type FaultProxy, PASSWORD, startApi, startFaultProxy } from './servers.js';

declare global {
    interface Window {
        /** Of the page `client`. */
        connect(options?: ClientOptions): void;
        client: Client;
        events: ClientEvent[];
    }
}

export const ADA = { email: 'ada@example.com', password: PASSWORD };

/** Refreshes every few seconds: tokens live a minute, which is the least that there is. */
export const HASTY = { refreshBefore: 56, refreshJitter: 1, refreshTimeout: 2 };

export class Rig {
    readonly errors: string[] = [];

    private constructor(
        readonly browser: Browser,
        readonly api: Running,
        readonly gateway: Running,
        readonly proxy: FaultProxy,
    ) {}

    /** `settings` may depend on where the API is. */
    static async start(settings: (api: string) => Record<string, string>, more = ''): Promise<Rig> {
        const api = await startApi();
        const gateway = await startGateway(api.url, settings(api.url), more);
        const proxy = await startFaultProxy(gateway.url);
        return new Rig(await launch(), api, gateway, proxy);
    }

    async stop() {
        await this.browser.close();
        for (const part of [this.proxy, this.gateway, this.api]) await part.stop();
    }

    /** What one test left must not disturb the next. */
    async clear() {
        for (const context of this.browser.contexts()) await context.close();
        this.proxy.fault = () => ({});
        this.proxy.refreshes.length = this.proxy.requests.length = this.proxy.answers.length = this.errors.length = 0;
    }

    /** A browser of its own: nothing is shared with others. */
    context(): Promise<BrowserContext> {
        return this.browser.newContext({ baseURL: this.proxy.url });
    }

    /** A tab with a client, and what failed in it. */
    async tab(context: BrowserContext, options: ClientOptions = {}, origin = this.proxy.url): Promise<Page> {
        const page = await context.newPage();
        page.on('pageerror', (error) => this.errors.push(String(error)));
        await page.goto(`${origin}/public/client.ts`);
        await page.waitForFunction(() => 'connect' in window);
        await page.evaluate((options) => window.connect(options), options);
        return page;
    }

    /** Another tab, signed in. */
    async signedIn(options: ClientOptions = {}, context?: BrowserContext): Promise<Page> {
        const page = await this.tab(context ?? (await this.context()), options);
        await page.evaluate((credentials) => window.client.login(credentials), ADA);
        return page;
    }
}

/** `without`: what Playwright tells Chromium otherwise. */
export function launch(without: string[] = []): Promise<Browser> {
    return chromium.launch({
        executablePath: process.env.CHROMIUM_BIN ?? '/usr/bin/chromium',
        // As root, and on machines with a small /dev/shm.
        args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
        ignoreDefaultArgs: without,
    });
}

export function status(page: Page): Promise<string> {
    return page.evaluate(() => window.client.state().status);
}

/** The status of a call through the client, or the code of its error. */
export function call(page: Page, path = '/api/x'): Promise<number | string> {
    return page.evaluate(
        (path) =>
            window.client.fetch(path).then(
                (answer) => answer.status,
                (error) => error.code ?? error.name,
            ),
        path,
    );
}

export function events(page: Page, type: ClientEvent['type']): Promise<number> {
    return page.evaluate((type) => window.events.filter((event) => event.type === type).length, type);
}

/** Makes the access token one that the gateway refuses, in a way that no clock shows. */
export async function spoilAccessToken(page: Page, options: ClientOptions = {}): Promise<void> {
    await page.evaluate(() => {
        const entry = JSON.parse(localStorage.getItem('tokengate')!);
        entry.session.accessToken = entry.session.accessToken.slice(0, -8) + 'AAAAAAAA';
        localStorage.setItem('tokengate', JSON.stringify(entry));
    });
    await page.reload();
    await page.waitForFunction(() => 'connect' in window);
    await page.evaluate((options) => window.connect(options), options);
}
