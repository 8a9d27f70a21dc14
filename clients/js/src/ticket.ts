/** Addresses with tickets, for what cannot send header fields: `EventSource` and `WebSocket`. */

import type { Client } from './client.js';
import { TokengateError } from './errors.js';
import { jsonOf, retryAfterOf } from './http.js';

export interface TicketOptions {
    /** Where the gateway is. The page's own origin by default. */
    baseUrl?: string | URL;
    /** Where it gives tickets: its `endpoints.ticket`. `"/ticket"`. */
    endpoint?: string;
}

/**
 * The address with a ticket: `new EventSource(await ticketed(client, '/api/events'))`, or a WebSocket. It opens one connection, within
 * the time that the gateway gives (`tickets.lifetime`): ask for another one each time.
 *
 * @throws {TokengateError} `refused`, when the gateway gives none.
 * @throws {TypeError} for an address that is not the gateway's.
 */
export async function ticketed(
    client: Pick<Client, 'fetch'>,
    address: string | URL,
    { baseUrl = globalThis.location?.href, endpoint = '/ticket' }: TicketOptions = {},
): Promise<URL> {
    const base = new URL(baseUrl);
    const target = new URL(address, base);
    // A WebSocket's is `wss:` where the gateway's is `https:`.
    if (`${target.protocol.replace(/^ws/, 'http')}//${target.host}` !== base.origin)
        throw new TypeError(`${target.href} is not an address of the gateway`);
    const response = await client.fetch(new URL(endpoint, base), {
        method: 'POST',
        cache: 'no-store',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ path: target.pathname }),
    });
    const body = await jsonOf(response);
    if (!response.ok) {
        const details = { status: response.status, problem: body, retryAfter: retryAfterOf(response, Date.now()) };
        throw new TokengateError('refused', String(body.detail ?? response.status), details);
    }
    target.search += `${target.search ? '&' : '?'}${body.parameter}=${body.ticket}`;
    return target;
}
