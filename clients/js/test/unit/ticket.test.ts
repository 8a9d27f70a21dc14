import { expect, test, vi } from 'vitest';

import { ticketed } from '../../src/ticket.js';

const GIVEN = { ticket: 'tgt_x', parameter: 'access_ticket', expiresIn: 30 };
const GATEWAY = { baseUrl: 'https://api.example' };

function client(status: number, body: unknown, headers: HeadersInit = {}) {
    return { fetch: vi.fn(async (..._: Parameters<typeof fetch>) => new Response(JSON.stringify(body), { status, headers })) };
}

test('a ticket is asked for by path, and put behind what the query says', async () => {
    const { fetch } = client(200, GIVEN);
    const events = await ticketed({ fetch }, '/api/events?room=a%20b#now', GATEWAY);
    expect(events.href).toBe('https://api.example/api/events?room=a%20b&access_ticket=tgt_x#now');
    const [target, init] = fetch.mock.calls[0]!;
    expect([String(target), init?.method, init?.body]).toEqual(['https://api.example/ticket', 'POST', '{"path":"/api/events"}']);
    await ticketed({ fetch }, '/api/events', { ...GATEWAY, endpoint: '/auth/ticket' });
    expect(String(fetch.mock.calls[1]![0])).toBe('https://api.example/auth/ticket');
});

test('a WebSocket has the address that it was given', async () => {
    const socket = await ticketed(client(200, GIVEN), 'wss://api.example/socket', GATEWAY);
    expect(socket.href).toBe('wss://api.example/socket?access_ticket=tgt_x');
});

test('no ticket is asked for that would go elsewhere, or in clear text', async () => {
    const { fetch } = client(200, GIVEN);
    for (const address of [
        'https://elsewhere.example/events',
        '//elsewhere.example',
        'ws://api.example/socket',
        'https://api.example:444/',
    ])
        await expect(ticketed({ fetch }, address, GATEWAY)).rejects.toThrow(TypeError);
    expect(fetch).not.toHaveBeenCalled();
});

test('a refusal says why, and when to come again', async () => {
    const refused = ticketed(
        client(429, { detail: 'Too many.', code: 'rate_limited' }, { 'retry-after': '30' }),
        '/events',
        GATEWAY,
    );
    await expect(refused).rejects.toMatchObject({ code: 'refused', status: 429, message: 'Too many.', retryAfter: 30 });
    await expect(refused).rejects.toMatchObject({ problem: { code: 'rate_limited' } });
});
