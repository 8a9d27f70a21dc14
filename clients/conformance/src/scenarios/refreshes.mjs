/** What a refresh can end with, and what it says of the session. */

import { DROP, LEEWAY, SILENCE } from '../gateway.mjs';
import { html, json, problem } from '../problems.mjs';
import { pause, refreshTokenOf } from '../stage.mjs';

const ORDERS = '/api/orders';
/** Timers are late on a busy machine; none is early by more than this. */
const EARLY_MILLISECONDS_MAX = 50;
const LATE_MILLISECONDS_MAX = 1500;

/** A refresh meets `fault`; the session must outlive it, and the same token be sent again. */
const survives = (name, title, fault, times = 1) => ({
    name,
    title,
    async play(stage) {
        const { gateway } = stage;
        const client = await stage.loggedIn();
        gateway.sessions.expireAccessTokens();
        gateway.fault('/refresh', fault, times);
        await client.request(ORDERS);
        await stage.isSignedIn(client, 'keep-and-retry', 'after it');
        await stage.succeeds(client, 'keep-and-retry', 'after it');
        const tokens = new Set(gateway.refreshes().map(refreshTokenOf));
        stage.judge('keep-and-retry', tokens.size === 1, `${tokens.size} different tokens were sent`);
    },
});

/** While `Retry-After` runs, the application goes on asking. */
const waits = (name, title, response, seconds) => ({
    name,
    title,
    async play(stage) {
        const { gateway } = stage;
        const client = await stage.loggedIn();
        gateway.sessions.expireAccessTokens();
        gateway.fault('/refresh', () => response(seconds), 1);
        const asked = Promise.all([client.request(ORDERS), pause(300).then(() => client.request(ORDERS))]);
        await Promise.race([asked, pause(seconds * 1000)]);
        await stage.isSignedIn(client, 'keep-and-retry', 'while it waits');
        await stage.succeeds(client, 'keep-and-retry', 'when the time is over');
        await asked;
        const [first, second] = gateway.refreshes();
        const waited = second ? second.at - first.at : 0;
        stage.judge(
            'retry-after',
            waited >= seconds * 1000 - EARLY_MILLISECONDS_MAX,
            `the next attempt came after ${Math.round(waited)} ms, and the gateway asked for ${seconds} s`,
        );
    },
});

export default [
    survives('response-lost', 'the gateway refreshes, and its response is lost', (call) => (call.carryOut(), DROP)),
    survives('request-lost', 'the connection breaks before the gateway has the refresh', () => DROP, 2),
    survives('store-away', "the gateway's store is away", () => problem('store_unavailable')),
    survives('bad-gateway', "a proxy's 502 with a page", () => html(502, 'Bad gateway')),
    survives('proxy-401-refresh', "a proxy's 401 with a page, to a refresh", () => html(401, 'Sign in to the network')),
    survives('captive-portal', 'the page of a captive portal, with status 200', () => html(200, 'Log in to the Wi-Fi')),
    survives('foreign-json', 'a 200 with JSON that has no tokens', () => json(200, { ok: true })),
    survives('foreign-404', "a proxy's 404 during a deployment", () => html(404, 'Not found')),
    waits('retry-after-503', '503 with Retry-After: 3', (retryAfter) => problem('store_unavailable', { retryAfter }), 3),
    waits('retry-after-429', '429 with Retry-After: 3', (retryAfter) => problem('rate_limited', { retryAfter }), 3),
    {
        name: 'silence',
        title: 'the gateway refreshes, and its response never comes',
        async play(stage) {
            const { gateway } = stage;
            const client = await stage.loggedIn();
            gateway.sessions.expireAccessTokens();
            gateway.fault('/refresh', (call) => (call.carryOut(), SILENCE), 1);
            const allowed = (LEEWAY / 3) * 1000 + LATE_MILLISECONDS_MAX;
            client.request(ORDERS).catch(() => undefined);
            const first = await gateway.arrival('/refresh', allowed);
            await Promise.race([first?.ended, pause(allowed)]);
            stage.judge('abort', first?.isOver, `the refresh was still waited for after ${Math.round(allowed)} ms`);
            await stage.succeeds(client, 'keep-and-retry', 'after a refresh that was given up');
        },
    },
    {
        name: 'killed',
        title: 'the process ends while it refreshes, and starts again later',
        async play(stage) {
            const { gateway } = stage;
            const client = await stage.loggedIn();
            const other = await stage.sibling(client);
            gateway.sessions.expireAccessTokens();
            gateway.fault('/refresh', (call) => (call.carryOut(), SILENCE), 1);
            client.request(ORDERS).catch(() => undefined);
            while (!gateway.refreshes().length) await pause(10);
            client.kill();
            gateway.pass(LEEWAY * 100);
            await stage.succeeds(other, 'keep-and-retry', 'after a refresh whose process was killed');
        },
    },
    {
        name: 'ended-elsewhere',
        title: 'the session was ended on another device',
        async play(stage) {
            const { gateway } = stage;
            const client = await stage.loggedIn();
            for (const session of gateway.sessions.all()) session.endedBy = 'logout';
            await client.request(ORDERS);
            await stage.becomesSignedOut(client, 'definite-no', 'after 401 refresh_token_invalid');
            const { length } = gateway.refreshes();
            await client.request(ORDERS);
            const later = gateway.refreshes().slice(length);
            stage.judge('definite-no', !later.some(refreshTokenOf), 'the client sent a refresh token that was refused');
            stage.judge('no-refresh', later.length === 0, 'the client refreshed without a token');
            await stage.login(client);
            await stage.succeeds(client, 'definite-no', 'after a new login');
        },
    },
    {
        name: 'chain',
        title: 'many refreshes, one after the other, each after the leeway',
        async play(stage) {
            const { gateway } = stage;
            const client = await stage.loggedIn();
            for (let round = 0; round < 5; round++) {
                gateway.pass(LEEWAY + 1);
                gateway.sessions.expireAccessTokens();
                await stage.succeeds(client, 'newest', `after refresh ${round + 1}`);
            }
            const sessions = gateway.sessions.all();
            stage.judge(
                'newest',
                sessions.length === 1 && !sessions[0].endedBy,
                'a token that was replaced was sent: it counts as stolen',
            );
        },
    },
];
