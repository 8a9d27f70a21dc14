/**
 * Chromium with cookies that are refreshed in flight, whose tokens live 5 seconds, before two nodes of one Redis. Responses are lost, so are
 * the store's replies, and the store is away now and then. TOKENGATE_SOAK_SECONDS says for how long.
 */

import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { type Balancer, type Passage, startBalancer } from './support/balancer.js';
import { type Running, startNodes, startRedis } from './support/processes.js';
import { type RedisFaults, startRedisFaults } from './support/redis_faults.js';
import { launch } from './support/rig.js';
import { PASSWORD, pause, startApi } from './support/servers.js';

const SECONDS = Number(process.env.TOKENGATE_SOAK_SECONDS ?? 15);
/** Beyond them, a slow machine goes on until there is something to judge by. */
const MORE_SECONDS_MAX = 60;
const SIGN_IN = '/public/blank.ts';
/** A part of the responses is lost, by halves before their head and after it. */
const LOST_ONE_IN = 12;

const SETTINGS = {
    'tokens.lifetime': '5s',
    // Which bounds how often there is another refresh token.
    'refresh.leeway': '6s',
    'cookies.enabled': 'true',
    'cookies.refresh_in_flight': 'true',
    'cookies.refresh_ahead': '1s',
    'routes.1.sign_in': `${SIGN_IN}?next={path}`,
    'store.redis.deadline': '500ms',
};

let [browser, api, redis, nodes, balancer]: [Browser?, Running?, Running?, Running?, Balancer?] = [];
let faults: RedisFaults;
/** What must not have been. */
const wrong: string[] = [];
const seen = { served: 0, lost: 0, unavailable: 0, turns: 0 };

beforeAll(async () => {
    api = await startApi();
    const server = await startRedis();
    redis = server;
    faults = await startRedisFaults(server.port);
    // The other node has a good line, and reads what the first could not know that it wrote.
    const deployment = await startNodes([faults.url, server.url], api.url, SETTINGS);
    nodes = { url: '', stop: deployment.stop };
    balancer = await startBalancer(deployment.urls);
    browser = await launch();
});
afterAll(async () => {
    await browser?.close();
    for (const part of [balancer, nodes, faults, redis, api]) await part?.stop();
});

/** One answer to a page, or none. */
interface Answer {
    status: number | 'lost';
    subject?: string | undefined;
    text?: string;
}

function fetches(page: Page, paths: string[]): Promise<Answer[]> {
    return page.evaluate((paths) => {
        const ask = async (path: string, number: number): Promise<Answer> => {
            try {
                const response = await fetch(path, { method: number % 3 ? 'GET' : 'POST' });
                const text = await response.text();
                return { status: response.status, subject: response.ok ? JSON.parse(text).subject : undefined, text };
            } catch {
                return { status: 'lost' };
            }
        };
        return Promise.all(paths.map(ask));
    }, paths);
}

async function logIn(page: Page, user: string) {
    for (;;) {
        const status = await page
            .evaluate(
                async ([email, password]) => {
                    const headers = { 'content-type': 'application/json' };
                    const response = await fetch('/login', {
                        method: 'POST',
                        headers,
                        body: JSON.stringify({ email, password }),
                    });
                    return response.status;
                },
                [user, PASSWORD],
            )
            .catch(() => 'lost' as const);
        if (status === 200) return;
        if (status !== 503 && status !== 'lost') wrong.push(`${user} logs in: ${status}`);
    }
}

/** Whether every answer is the user's, or none because of a fault. */
function judge(user: string, what: string, answers: Answer[]) {
    for (const { status, subject, text } of answers) {
        if (status === 'lost') seen.lost++;
        else if (status === 503) seen.unavailable++;
        else if (status === 200 && subject === user) seen.served++;
        else wrong.push(`${user}, ${what}: ${status} ${subject ?? text}`);
    }
}

async function visit(page: Page, user: string, path: string) {
    const response = await page.goto(`${balancer!.url}${path}`).catch(() => null);
    if (new URL(page.url()).pathname === SIGN_IN) return void wrong.push(`${user}, ${path}: sent to log in`);
    // What stands at the end of a page is there if all of it is.
    const read = () => (document.querySelector('hr') ? document.querySelector('p')!.textContent : null);
    const subject = response?.ok() ? await page.evaluate(read) : undefined;
    judge(user, path, [subject === null || !response ? { status: 'lost' } : { status: response.status(), subject }]);
    // A page of the host is needed to ask from.
    while (!page.url().startsWith(balancer!.url)) await page.goto(`${balancer!.url}${SIGN_IN}`).catch(() => {});
}

async function opened(context: BrowserContext): Promise<Page> {
    const page = await context.newPage();
    while (!page.url().startsWith(balancer!.url)) await page.goto(`${balancer!.url}${SIGN_IN}`).catch(() => {});
    return page;
}

/** Somebody who reads pages, each of which asks for more, in as many tabs. */
async function browse(context: BrowserContext, user: string, tabs: number, goesOn: () => boolean) {
    const pages = await Promise.all(Array.from({ length: tabs }, () => opened(context)));
    await logIn(pages[0]!, user);
    const read = async (page: Page) => {
        for (let round = 0; goesOn(); round++) {
            await visit(page, user, `/page/${round}`);
            judge(
                user,
                'fetch',
                await fetches(
                    page,
                    Array.from({ length: 6 }, (_, i) => `/api/${i}?hold=${(i * 150 * round) % 700}`),
                ),
            );
            await pause(200);
        }
    };
    await Promise.all(pages.map(read));
}

/** Two who share a browser. Each logs in over the other, while responses to the other are under way that bring cookies. */
async function takeTurns(context: BrowserContext, users: [string, string], goesOn: () => boolean) {
    const [one, other] = [await opened(context), await opened(context)];
    await logIn(one, users[0]);
    for (let round = 0; goesOn(); round++) {
        const [before, after] = round % 2 ? [users[1], users[0]] : users;
        // From now on, responses bring cookies.
        await context.clearCookies({ name: '__Host-access' });
        const late = fetches(
            one,
            Array.from({ length: 5 }, (_, i) => `/api/late?hold=${100 + 150 * i}`),
        );
        await pause(100 + ((round * 37) % 300));
        await logIn(other, after);
        // From here on nothing is the former user's, whatever still arrives.
        const isOver = late.then(() => true);
        while (!(await Promise.race([isOver, pause(50)])))
            judge(after, `after ${before}`, await fetches(other, ['/api/1', '/api/2']));
        judge(after, `after ${before}, at last`, await fetches(other, ['/api/1', '/api/2', '/api/3', '/api/4']));
        await visit(other, after, '/page/whose');
        seen.turns++;
    }
}

/** Replies of the store that are lost, and now and then a store that is not there. */
async function disturb(goesOn: () => boolean) {
    faults.losesOneIn = 8;
    while (goesOn()) {
        await pause(4000);
        faults.isAway = true;
        faults.cut();
        await pause(800);
        faults.isAway = false;
    }
    faults.losesOneIn = 0;
}

/** Whether the response brought the next refresh token; a login brings the first of another session. */
const isRotation = ({ request, presented, set }: Passage) => !request.startsWith('POST /login') && presented && set;

/** Refresh tokens that came after one, in their order; each only until the next one came. */
function successors(): string[][] {
    const by = new Map<string, string[]>();
    for (const { presented, set } of balancer!.passages.filter(isRotation)) {
        const line = by.get(presented!) ?? [];
        if (line.at(-1) !== set) line.push(set!);
        by.set(presented!, line);
    }
    return [...by.values()];
}

/** Whether all of it has happened that is to do no harm. */
function isTelling(): boolean {
    return Math.min(successors().length / 3, faults.losses / 3, seen.served / 20, seen.lost, seen.turns) >= 1;
}

test(
    'no session is lost, none has two successors at once, and none is another user’s',
    { timeout: (SECONDS + MORE_SECONDS_MAX + 60) * 1000 },
    async () => {
        let count = 0;
        balancer!.fate = () => (++count % LOST_ONE_IN ? 'arrives' : count % (2 * LOST_ONE_IN) ? 'lost' : 'torn');
        const began = Date.now();
        const lasts = (seconds: number) => Date.now() - began < seconds * 1000;
        const goesOn = () => wrong.length === 0 && (lasts(SECONDS) || (lasts(SECONDS + MORE_SECONDS_MAX) && !isTelling()));
        const contexts = await Promise.all([1, 2, 3].map(() => browser!.newContext()));
        // What ends in the midst of a page is waited for in vain.
        contexts.forEach((context) => context.setDefaultNavigationTimeout(3000));
        await Promise.all([
            browse(contexts[0]!, 'ann', 2, goesOn),
            browse(contexts[1]!, 'bob', 1, goesOn),
            takeTurns(contexts[2]!, ['carl', 'dora'], goesOn),
            disturb(goesOn),
        ]);
        expect(wrong).toEqual([]);
        // Node by node, how many responses brought cookies of a refresh.
        const brought = [0, 1].map((node) => balancer!.passages.filter((one) => one.node === node && isRotation(one)).length);
        const lines = successors();
        const doubled = lines.filter((line) => new Set(line).size !== line.length);
        expect(doubled).toEqual([]);
        console.log(
            `${SECONDS} s: ${JSON.stringify(seen)}, ${lines.length} rotations brought by ${brought} responses, ${faults.losses} lost replies of the store`,
        );
        expect(isTelling()).toBe(true);
    },
);
