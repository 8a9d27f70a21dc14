/** The API's event stream, read by `fetch`: unlike `EventSource` it can carry a token in a field. */

import type { Client } from '../src/index.js';
import { at, element } from './dom.js';
import { say } from './log.js';

const BEATS = 48;
const RECONNECT_AFTER = 1000;

/** Reads until it is stopped, and connects again when the stream ends before. */
export function followEvents(client: Client): () => void {
    const stop = new AbortController();
    at('beats').replaceChildren(...Array.from({ length: BEATS }, () => element('i')));
    void (async () => {
        while (!stop.signal.aborted) {
            show('opening');
            await read(client, stop.signal).catch(() => undefined);
            show('closed');
            if (stop.signal.aborted) return;
            beat('gap');
            say('warn', 'The event stream has ended; connecting again');
            await new Promise((resolve) => setTimeout(resolve, RECONNECT_AFTER));
        }
    })();
    return () => stop.abort();
}

async function read(client: Client, signal: AbortSignal) {
    const response = await client.fetch('/api/events', { signal, cache: 'no-store' });
    if (!response.ok || !response.body) return;
    show('open');
    say('plain', 'The event stream is open');
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ''; ;) {
        const { done, value } = await reader.read();
        if (done) return;
        const events = (rest + value).split('\n\n');
        rest = events.pop() ?? '';
        for (const event of events) {
            beat('beat');
            at('last-event').textContent =
                event
                    .split('\n')
                    .find((line) => line.startsWith('data:'))
                    ?.slice(5)
                    .trim() ?? event;
        }
    }
}

function beat(className: 'beat' | 'gap') {
    at('beats').firstElementChild?.remove();
    at('beats').append(element('i', { className }));
}

function show(state: 'opening' | 'open' | 'closed') {
    at('stream-state').textContent = state;
    at('stream-state').dataset.is = state;
}
