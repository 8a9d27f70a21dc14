/** A page with a client on it, for tests to drive. */

import { type ClientEvent, type ClientOptions, createClient } from 'tokengate-client';

const events: ClientEvent[] = [];

Object.assign(window, {
    events,
    connect(options: ClientOptions = {}) {
        Object.assign(window, { client: createClient({ ...options, onEvent: (event) => events.push(event) }) });
    },
});
