import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { createClient } from '../../src/client.js';
import { json } from './gateway.js';

/** What a browser has, one of which each test takes away. */
const store = new Map<string, string>();
const localStorage = {
    getItem: (key: string) => store.get(key) ?? null,
    setItem: (key: string, value: string) => void store.set(key, value),
    removeItem: (key: string) => void store.delete(key),
};

beforeEach(() => {
    store.clear();
    vi.stubGlobal('window', new EventTarget());
    vi.stubGlobal('localStorage', localStorage);
    vi.stubGlobal('fetch', async () =>
        json(200, { user: 'ada', accessToken: 'a', refreshToken: 'r', expiresIn: 900, generation: 1 }),
    );
});

afterEach(() => void vi.unstubAllGlobals());

async function livesHere() {
    const client = createClient({ baseUrl: 'https://api.example.com' });
    await client.login({ email: 'ada', password: 'right' });
    expect(client.state()).toEqual({ status: 'signed-in', user: 'ada' });
    expect(await client.accessToken()).toBe('a');
    vi.stubGlobal('fetch', async () => json(200, { ended: 1 }));
    expect(await client.logout()).toEqual({ ended: 1 });
    expect(client.state().status).toBe('signed-out');
    client.dispose();
}

/** A token is refused, refreshed, and the request sent again. */
async function refreshesHere(answer: (status: number, body: object) => Response = json) {
    const tokens: Array<string | null> = [];
    vi.stubGlobal('fetch', async (input: URL, init: RequestInit) => {
        if (input.pathname === '/login')
            return answer(200, { accessToken: 'a', refreshToken: 'r', expiresIn: 900, generation: 1 });
        if (input.pathname === '/refresh')
            return answer(200, { accessToken: 'b', refreshToken: 's', expiresIn: 900, generation: 2 });
        tokens.push(new Headers(init.headers).get('authorization'));
        return tokens.length > 1 ? answer(200, {}) : answer(401, { error: 'invalid_token' });
    });
    const client = createClient({ baseUrl: 'https://api.example.com' });
    await client.login({ email: 'ada', password: 'right' });
    expect((await client.fetch('/api', { method: 'POST', body: 'x' })).status).toBe(200);
    expect(tokens).toEqual(['Bearer a', 'Bearer b']);
    client.dispose();
}

describe('a client lives', () => {
    test('where everything is there', livesHere);

    test('where BroadcastChannel cannot be made', async () => {
        vi.stubGlobal(
            'BroadcastChannel',
            class {
                constructor() {
                    throw new DOMException('Blocked.', 'SecurityError');
                }
            },
        );
        await livesHere();
    });

    test('where BroadcastChannel takes no messages', async () => {
        vi.stubGlobal(
            'BroadcastChannel',
            class {
                postMessage() {
                    throw new DOMException('Closed.', 'InvalidStateError');
                }
                close() {}
            },
        );
        await livesHere();
    });

    test('where BroadcastChannel cannot be closed', async () => {
        vi.stubGlobal(
            'BroadcastChannel',
            class {
                postMessage() {}
                close() {
                    throw new DOMException('Closed.', 'InvalidStateError');
                }
            },
        );
        await livesHere();
    });

    test.each([
        [
            'at once',
            () => {
                throw new DOMException('Denied.', 'SecurityError');
            },
        ],
        ['later', () => Promise.reject(new DOMException('Denied.', 'SecurityError'))],
    ])('where locks are denied %s, as in a sandboxed frame', async (_when, request) => {
        vi.stubGlobal('navigator', { locks: { request } });
        await refreshesHere();
    });

    test('where there are no locks', async () => {
        vi.stubGlobal('navigator', undefined);
        await refreshesHere();
    });

    test('where bodies are no streams, as in React Native', async () => {
        vi.stubGlobal('window', {});
        vi.stubGlobal('localStorage', undefined);
        vi.stubGlobal('ReadableStream', undefined);
        const headers = new Headers({ 'content-type': 'application/json' });
        await refreshesHere((status, body) => {
            const answer = { status, ok: status < 300, headers, json: async () => body, clone: () => answer };
            return answer as unknown as Response;
        });
    });

    test('where there is none', async () => {
        vi.stubGlobal('BroadcastChannel', undefined);
        await livesHere();
    });

    test('in a window without events, as React Native has it', async () => {
        vi.stubGlobal('window', {});
        vi.stubGlobal('BroadcastChannel', undefined);
        vi.stubGlobal('localStorage', undefined);
        await livesHere();
    });

    test('where localStorage throws', async () => {
        const blocked = () => {
            throw new DOMException('Blocked.', 'SecurityError');
        };
        Object.defineProperty(globalThis, 'localStorage', { configurable: true, get: blocked });
        await livesHere();
    });
});
