import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { compile } from 'svelte/compiler';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { json } from './gateway.js';

const ADA = { email: 'ada', password: 'right' };
/** What `/api` was called with. */
let calls: Array<{ token: string | null; method: string; body: string }>;

beforeEach(() => {
    const store = new Map<string, string>();
    vi.stubGlobal('window', new EventTarget());
    vi.stubGlobal('localStorage', {
        getItem: (key: string) => store.get(key) ?? null,
        setItem: (key: string, value: string) => void store.set(key, value),
        removeItem: (key: string) => void store.delete(key),
    });
    calls = [];
    vi.stubGlobal('fetch', async (input: RequestInfo | URL, init?: RequestInit) => {
        const request = new Request(input, init);
        const { pathname } = new URL(request.url);
        if (pathname === '/login') return json(200, { accessToken: 'a', refreshToken: 'r', expiresIn: 900, generation: 1 });
        if (pathname === '/refresh') return json(200, { accessToken: 'b', refreshToken: 's', expiresIn: 900, generation: 2 });
        const token = request.headers.get('authorization');
        calls.push({ token, method: request.method, body: await request.text() });
        return token === 'Bearer b'
            ? json(200, { orders: [1, 2] })
            : json(401, { error: 'invalid_token', code: 'token_expired' });
    });
    vi.resetModules();
});

afterEach(() => void vi.unstubAllGlobals());

const sentTwice = [
    { token: 'Bearer a', method: 'POST', body: '{"item":"cards"}' },
    { token: 'Bearer b', method: 'POST', body: '{"item":"cards"}' },
];

describe('a request that is refused for its token is repeated', () => {
    test('with openapi-fetch', async () => {
        const { api, client } = (await import('../../examples/openapi_fetch.js')) as any;
        await client.login(ADA);
        const { data, response } = await api.POST('/api/orders', { body: { item: 'cards' } });
        expect([response.status, data]).toEqual([200, { orders: [1, 2] }]);
        expect(calls).toEqual(sentTwice);
        client.dispose();
    });

    test('with ky', async () => {
        const { api, client } = (await import('../../examples/ky.js')) as any;
        await client.login(ADA);
        expect(await api.post('api/orders', { json: { item: 'cards' } }).json()).toEqual({ orders: [1, 2] });
        expect(calls).toEqual(sentTwice);
        client.dispose();
    });
});

test('the example for Svelte compiles', () => {
    const path = join(import.meta.dirname, '../../examples/svelte.svelte');
    const { warnings } = compile(readFileSync(path, 'utf8'), { filename: path, generate: 'client' });
    expect(warnings).toEqual([]);
});

test("the server's example hands on the cookies that the gateway set", async () => {
    vi.unstubAllGlobals();
    const platform = fetch;
    vi.stubGlobal('fetch', async (input: RequestInfo | URL, init?: RequestInit) => {
        const url = new URL(input instanceof Request ? input.url : input);
        if (url.hostname === '127.0.0.1') return platform(input, init);
        const headers = new Headers([
            ...(url.pathname === '/refresh' ? [['set-cookie', '__Host-access=new; Path=/']] : []),
        ] as any);
        const isFresh = new Headers(init?.headers).get('cookie')?.includes('__Host-access=new');
        if (url.pathname === '/refresh') return new Response('{}', { headers });
        return isFresh ? json(200, { orders: [1, 2] }) : json(401, { code: 'token_missing' }, { 'www-authenticate': 'Bearer' });
    });
    const { server } = (await import('../../examples/server.js')) as any;
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const response = await platform(`http://127.0.0.1:${server.address().port}/`, { headers: { cookie: '__Host-refresh=r' } });
    expect(await response.text()).toBe('You have 2 orders.');
    expect(response.headers.getSetCookie()).toEqual(['__Host-access=new; Path=/']);
    server.close();
});
