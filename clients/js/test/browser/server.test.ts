/** A server that renders for a browser, before a real gateway with cookies. */

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { serverClient } from '../../src/server.js';
import { type Running, startGateway } from './support/processes.js';
import { ADA } from './support/rig.js';
import { startApi } from './support/servers.js';

let api: Running;
let gateway: Running;

beforeAll(async () => {
    api = await startApi();
    gateway = await startGateway(api.url, { 'cookies.enabled': 'true' });
});
afterAll(async () => {
    await gateway?.stop();
    await api?.stop();
});

/** What a browser sends that has taken these `Set-Cookie` fields. */
function cookieOf(lines: readonly string[], without = ''): string {
    const pairs = lines.map((line) => line.split(';')[0]!);
    return pairs.filter((pair) => !without || !pair.startsWith(without)).join('; ');
}

async function loggedIn(): Promise<readonly string[]> {
    const client = serverClient({ baseUrl: gateway.url, cookie: null });
    const headers = { 'content-type': 'application/json' };
    const response = await client.fetch('/login', { method: 'POST', headers, body: JSON.stringify(ADA) });
    expect(response.status).toBe(200);
    return client.setCookies();
}

test("the browser's cookies go along, and nothing is set without need", async () => {
    const lines = await loggedIn();
    expect(lines.map((line) => line.split('=')[0])).toEqual(['__Host-access', '__Host-refresh']);
    const client = serverClient({ baseUrl: gateway.url, cookie: cookieOf(lines) });
    expect((await client.fetch('/api/x')).status).toBe(200);
    expect((await client.fetch('/api/x', { method: 'POST', body: 'x' })).status).toBe(200);
    expect(client.setCookies()).toEqual([]);
});

test('without its access cookie, one refresh serves all requests, and the browser goes on with what it brought', async () => {
    const client = serverClient({ baseUrl: gateway.url, cookie: cookieOf(await loggedIn(), '__Host-access') });
    const calls = Array.from({ length: 20 }, (_, i) =>
        i % 2 ? client.fetch(`/api/${i}`) : client.fetch(new Request(`${gateway.url}/api/${i}`, { method: 'POST', body: 'x' })),
    );
    expect((await Promise.all(calls)).map(({ status }) => status)).toEqual(Array(20).fill(200));
    const names = client.setCookies().map((line) => line.split('=')[0]);
    expect(names).toEqual(['__Host-access', '__Host-refresh']);
    const next = serverClient({ baseUrl: gateway.url, cookie: cookieOf(client.setCookies()) });
    expect((await next.fetch('/api/x')).status).toBe(200);
    expect(next.setCookies()).toEqual([]);
});

test('nothing is refreshed where no cookie can be set any more', async () => {
    const cookie = cookieOf(await loggedIn(), '__Host-access');
    const late = serverClient({ baseUrl: gateway.url, cookie, canSetCookies: false });
    expect((await late.fetch('/api/x')).status).toBe(401);
    expect(late.setCookies()).toEqual([]);
    const early = serverClient({ baseUrl: gateway.url, cookie });
    expect((await early.fetch('/api/x')).status).toBe(200);
});

test('of a session that is over, the 401 is the response, and the browser is told to forget it', async () => {
    const cookie = cookieOf(await loggedIn());
    const elsewhere = serverClient({ baseUrl: gateway.url, cookie });
    expect((await elsewhere.fetch('/logout', { method: 'POST' })).status).toBe(200);
    const client = serverClient({ baseUrl: gateway.url, cookie });
    expect((await client.fetch('/api/x')).status).toBe(401);
    expect(client.setCookies().map((line) => /^([^=]+)=.*max-age=0/i.exec(line)?.[1])).toEqual([
        '__Host-access',
        '__Host-refresh',
    ]);
});

test('two cookies of one name are passed on as they are, and refused', async () => {
    const cookie = cookieOf(await loggedIn());
    const client = serverClient({ baseUrl: gateway.url, cookie: `${cookie}; __Host-access=other` });
    expect((await client.fetch('/api/x')).status).toBe(400);
});

test('no other origin gets a cookie', async () => {
    const got: unknown[] = [];
    const other = createServer((request, response) => {
        got.push(request.headers.cookie);
        response.end();
    });
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const client = serverClient({ baseUrl: gateway.url, cookie: cookieOf(await loggedIn()) });
    await client.fetch(`http://127.0.0.1:${(other.address() as AddressInfo).port}/api/x`);
    expect(got).toEqual([undefined]);
    other.close();
});
