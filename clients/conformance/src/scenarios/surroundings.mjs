/** Clocks, lifetimes, and settings of the gateway. */

import { LEEWAY } from '../gateway.mjs';
import { pause } from '../stage.mjs';

const ORDERS = '/api/orders';
const HOUR = 3600;

const clock = (name, title, offset) => ({
    name,
    title,
    settings: { offset },
    async play(stage) {
        const { gateway } = stage;
        const client = await stage.loggedIn();
        for (let i = 0; i < 3; i++) {
            const { status, error } = await client.request(ORDERS);
            stage.judge('lifetime', status === 200, `a request ended with ${status ?? error}`);
        }
        const { length } = gateway.refreshes();
        stage.judge('lifetime', length === 0, `a token that lives for 15 minutes was refreshed ${length} times within a second`);
    },
});

export default [
    clock('clock-ahead', "the gateway's clock is an hour ahead", HOUR),
    clock('clock-behind', "the gateway's clock is an hour behind", -HOUR),
    {
        name: 'short-lived',
        title: 'tokens live for two seconds, and requests come all the time',
        settings: { lifetime: 2 },
        async play(stage) {
            const { gateway } = stage;
            const client = await stage.loggedIn();
            for (let i = 0; i < 16; i++) {
                const { status, error } = await client.request(ORDERS);
                stage.judge('refresh-once', status === 200, `request ${i + 1} ended with ${status ?? error}`);
                await pause(250);
            }
            const { length } = gateway.refreshes();
            stage.judge('lifetime', length <= 5, `the client refreshed ${length} times in four seconds`);
        },
    },
    {
        name: 'no-rotation',
        title: 'refreshes return no refresh token (refresh.rotation = false)',
        settings: { rotation: false },
        async play(stage) {
            const { gateway } = stage;
            const client = await stage.loggedIn();
            for (let round = 0; round < 3; round++) {
                gateway.pass(LEEWAY + 1);
                gateway.sessions.expireAccessTokens();
                await stage.succeeds(client, 'no-rotation', `after refresh ${round + 1}`);
            }
        },
    },
];
