/** Several processes (or tabs) with one storage. */

import { LEEWAY, USER } from '../gateway.mjs';
import { heldBack, pause } from '../stage.mjs';

const ORDERS = '/api/orders';
const ARRIVAL_MILLISECONDS_MAX = 1000;

export default [
    {
        name: 'two-processes',
        title: 'two processes with one storage refresh at the same time, and take turns',
        async play(stage) {
            const { gateway } = stage;
            const first = await stage.loggedIn();
            const second = await stage.sibling(first);
            const both = [first, second];
            for (const active of [both, [first], [first], [second], both, [second], [second], [first]]) {
                gateway.sessions.expireAccessTokens();
                const results = await Promise.all(active.map((client) => client.request(ORDERS)));
                const failed = results.find(({ status }) => status !== 200);
                stage.judge('newest', !failed, `a request ended with ${failed?.status ?? failed?.error}`);
                gateway.pass(LEEWAY + 1);
            }
            for (const client of both) await stage.isSignedIn(client, 'newest', 'after eight rounds');
        },
    },
    {
        name: 'out-of-order',
        title: 'the response with the older generation arrives last',
        async play(stage) {
            const { gateway } = stage;
            const first = await stage.loggedIn();
            const second = await stage.sibling(first);
            gateway.sessions.expireAccessTokens();
            let release;
            const held = new Promise((resolve) => (release = resolve));
            gateway.fault('/refresh', (call) => heldBack(call.carryOut(), held), 1);
            const slow = first.request(ORDERS);
            while (!gateway.refreshes().length) await pause(10);
            gateway.pass(LEEWAY + 1);
            // A client that lets one process wait for the other sends nothing now, and is right too.
            const arrival = gateway.arrival('/refresh', ARRIVAL_MILLISECONDS_MAX);
            const quick = second.request(ORDERS);
            if (await arrival) await quick;
            release();
            await Promise.all([slow, quick]);
            gateway.pass(LEEWAY + 1);
            gateway.sessions.expireAccessTokens();
            for (const client of [first, second]) await stage.succeeds(client, 'newest', 'after a late response');
        },
    },
    {
        name: 'logout-elsewhere',
        title: 'another process logs out',
        async play(stage) {
            const { gateway } = stage;
            const first = await stage.loggedIn();
            const second = await stage.sibling(first);
            await stage.succeeds(second, 'newest', 'in the second process');
            await first.logout();
            await stage.becomesSignedOut(second, 'user-first', 'after a logout in another process');
        },
    },
    {
        name: 'restart',
        title: 'the process ends and starts again',
        async play(stage) {
            const first = await stage.loggedIn();
            const second = await stage.sibling(first);
            await first.stop();
            await stage.isSignedIn(second, 'keep-and-retry', 'after a restart');
            await stage.succeeds(second, 'keep-and-retry', 'after a restart');
        },
    },
    {
        name: 'logout',
        title: 'a logout',
        async play(stage) {
            const { gateway } = stage;
            const client = await stage.loggedIn();
            await client.logout();
            stage.judge('user-first', gateway.sessions.all()[0].endedBy === 'logout', 'the gateway was not told of the logout');
            await stage.becomesSignedOut(client, 'user-first', 'after a logout');
        },
    },
    {
        name: 'logout-during-refresh',
        title: 'the user logs out while a refresh is under way',
        async play(stage) {
            const { gateway } = stage;
            const { client, release } = await stage.refreshing();
            await client.logout();
            release();
            await pause(200);
            await stage.becomesSignedOut(client, 'user-first', 'after a logout during a refresh');
            const { length } = gateway.callsTo(ORDERS);
            await client.request(ORDERS);
            const sent = gateway.callsTo(ORDERS).slice(length);
            stage.judge('user-first', !sent.some(({ authorization }) => authorization), 'a token was sent after the logout');
        },
    },
    {
        name: 'login-during-refresh',
        title: 'another user logs in while a refresh is under way',
        async play(stage) {
            const { gateway } = stage;
            const { client, release } = await stage.refreshing();
            await stage.login(client, { ...USER, email: 'grace@example.com' });
            release();
            await pause(200);
            await stage.succeeds(client, 'user-first', 'after the login of another user');
            const last = gateway.callsTo(ORDERS).at(-1);
            const { subject } = gateway.sessions.find(last.authorization.replace('Bearer ', ''));
            stage.judge(
                'user-first',
                subject === 'grace@example.com',
                `requests are made in the name of ${subject}, who had left`,
            );
        },
    },
];
