/** WebSockets that outlive the token that opened them, where the gateway's route has `websocket_renewal`. */

import type { Client } from './client.js';

/** What the gateway says of a token that was sent: until when the socket may stay open, or why the token does not count. */
export type RenewalAnswer = { renewedUntil: Date } | { error: string };

export interface RenewalOptions {
    /** How the route's messages to the gateway begin: its `websocket_renewal`. `"tokengate:"`. */
    prefix?: string;
    /** Told of each answer. The application's own listeners are not. */
    onAnswer?: (answer: RenewalAnswer) => void;
}

const OPEN = 1;
/** An answer has the end of the token that it is about, which nobody else knows. */
const END_LENGTH = 8;
/** Another tab may refresh at any time. */
const LOOK_EVERY = 30_000;
/** What cannot be had now is asked for again after that. */
const PAUSE = 1000;

/**
 * Sends each newer access token on the socket, until it closes: `renewing(client, new WebSocket(await ticketed(client, '/socket')))`.
 * Call it before you add listeners of your own, so that they hear nothing of the answers. What only looks like an answer, because the
 * application passes on what others wrote, is theirs. In cookie mode there is no token to
 * send: any request of the page renews the socket then. Only for routes that have the setting; elsewhere the application would get the
 * messages.
 */
export function renewing<S extends Pick<WebSocket, 'addEventListener' | 'readyState' | 'send'>>(
    client: Pick<Client, 'accessToken' | 'refreshIn'>,
    socket: S,
    { prefix = 'tokengate:', onAnswer }: RenewalOptions = {},
): S {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let sent: string | undefined;
    const ends = new Set<unknown>();
    let closed = false;

    async function look() {
        // Whoever is offline, or signed out, may not be for long.
        const token = await client.accessToken().catch(() => undefined);
        if (closed) return;
        if (token && token !== sent && socket.readyState === OPEN) {
            ends.add(token.slice(-END_LENGTH));
            socket.send(prefix + token);
            sent = token;
        }
        timer = setTimeout(look, Math.min(Math.max(client.refreshIn(), PAUSE), LOOK_EVERY));
    }

    socket.addEventListener('message', (event) => {
        if (typeof event.data !== 'string' || !event.data.startsWith(prefix)) return;
        const { renewed_until: until, error, token_end: end } = read(event.data.slice(prefix.length));
        if (!ends.has(end)) return;
        event.stopImmediatePropagation();
        onAnswer?.(error === undefined ? { renewedUntil: new Date(until * 1000) } : { error });
    });
    socket.addEventListener('close', () => {
        closed = true;
        clearTimeout(timer);
    });
    if (socket.readyState === OPEN) void look();
    else socket.addEventListener('open', () => void look());
    return socket;
}

/** What stands in an answer; nothing in what is none. */
function read(text: string) {
    try {
        return Object(JSON.parse(text));
    } catch {
        return {};
    }
}
