/** What a response to an ordinary request means. */

import { html, json, problem } from '../problems.mjs';
import { pause } from '../stage.mjs';

const ORDERS = '/api/orders';
const PATIENCE = 6000;

export default [
    {
        name: 'call',
        title: 'a login, then a request',
        async play(stage) {
            const { gateway } = stage;
            const client = await stage.loggedIn();
            const { status } = await client.request(ORDERS);
            const [call] = gateway.callsTo(ORDERS);
            stage.judge('bearer', /^Bearer ey/.test(call?.authorization), `the field Authorization was "${call?.authorization}"`);
            stage.judge('bearer', status === 200, `the request ended with ${status}`);
            await stage.isSignedIn(client, 'definite-no', 'after a login');
        },
    },
    {
        name: 'expired',
        title: 'the access token is refused before its time',
        async play(stage) {
            const { gateway } = stage;
            const client = await stage.loggedIn();
            gateway.sessions.expireAccessTokens();
            const { status } = await client.request(ORDERS);
            stage.judge('refresh-once', status === 200, `the request ended with ${status}, and a refresh would have helped`);
            refreshedOnce(stage, gateway);
        },
    },
    {
        name: 'body',
        title: 'a request with a body is refused for its token',
        async play(stage) {
            const { gateway } = stage;
            const client = await stage.loggedIn();
            gateway.sessions.expireAccessTokens();
            const { status } = await client.request(ORDERS, 'POST', { item: 'punched cards' });
            stage.judge('refresh-once', status === 200, `the request ended with ${status}`);
            const bodies = gateway.callsTo(ORDERS).map(({ body }) => body);
            stage.judge(
                'refresh-once',
                bodies.length === 2 && bodies[0] === bodies[1],
                `the bodies were ${bodies.join(' and ')}`,
            );
        },
    },
    {
        name: 'storm',
        title: 'twenty requests at once are refused for their token',
        async play(stage) {
            const { gateway } = stage;
            const client = await stage.loggedIn();
            gateway.sessions.expireAccessTokens();
            const results = await Promise.all(Array.from({ length: 20 }, () => client.request(ORDERS)));
            const failed = results.filter(({ status }) => status !== 200);
            stage.judge(
                'refresh-once',
                failed.length === 0,
                `${failed.length} of 20 requests failed, the first with ${told(failed[0])}`,
            );
            refreshedOnce(stage, gateway);
        },
    },
    {
        name: 'straggler',
        title: 'a 401 arrives after the refresh that another request caused',
        async play(stage) {
            const { gateway } = stage;
            const client = await stage.loggedIn();
            gateway.sessions.expireAccessTokens();
            let release;
            const held = new Promise((resolve) => (release = resolve));
            gateway.fault('/api/slow', (call) => held.then(() => call.carryOut()), 1);
            // Judged by the token that it was sent with, whatever is refreshed meanwhile.
            const slow = client.request('/api/slow');
            while (!gateway.callsTo('/api/slow').length) await pause(10);
            const { status } = await client.request(ORDERS);
            stage.judge('refresh-once', status === 200, `the first request ended with ${status}`);
            release();
            const late = await slow;
            stage.judge('refresh-once', late.status === 200, `the request with the late 401 ended with ${told(late)}`);
            refreshedOnce(stage, gateway);
        },
    },
    {
        name: 'refused-still',
        title: 'a new token is refused as well',
        async play(stage) {
            const { gateway } = stage;
            const client = await stage.loggedIn();
            gateway.fault(ORDERS, () => problem('token_invalid'));
            const { status } = await client.request(ORDERS);
            stage.judge('refresh-once', status === 401, `the application got ${status}, and the gateway said 401`);
            const { length } = gateway.callsTo(ORDERS);
            stage.judge('refresh-once', length === 2, `the request was sent ${length} times`);
            refreshedOnce(stage, gateway);
            await stage.isSignedIn(client, 'definite-no', 'after a request that was refused twice');
        },
    },
    ...[
        ['forbidden', 'a request lacks a scope', () => problem('scope_insufficient')],
        ['unvouched', 'the gateway cannot vouch for tokens right now', () => problem('revocations_stale')],
        ['login-too-old', 'a route wants a recent login', () => problem('login_too_old')],
        ['api-401', "the API's own 401, for a wrong PIN", () => json(401, { error: 'wrong PIN' })],
        ['proxy-401', "a proxy's 401 with a page", () => html(401, 'Sign in to the network')],
    ].map(([name, title, response]) => ({
        name,
        title,
        async play(stage) {
            const { gateway } = stage;
            const client = await stage.loggedIn();
            gateway.fault(ORDERS, response, 1);
            await client.request(ORDERS);
            const { length } = gateway.refreshes();
            stage.judge('no-refresh', length === 0, `the client refreshed ${length} times upon ${response().status}`);
            await stage.isSignedIn(client, 'definite-no', `after a ${response().status}`);
            await stage.succeeds(client, 'keep-and-retry', 'afterwards', PATIENCE / 1000);
        },
    })),
];

function refreshedOnce(stage, gateway) {
    const { length } = gateway.refreshes();
    stage.judge('refresh-once', length === 1, `the client refreshed ${length} times`);
}

/** How a request ended, if one is given. */
function told(result) {
    return result?.status ?? result?.error;
}
