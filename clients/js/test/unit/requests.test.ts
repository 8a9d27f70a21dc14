import { describe, expect, test } from 'vitest';

import { json } from './gateway.js';
import { type Fate, ORIGIN, type Tab, World, settled } from './world.js';

const CREDENTIALS = { email: 'ada@example.com', password: 'right' };
const OK: Fate = { there: 5, back: 5 };

async function signedIn(world: World, tab: Tab = world.tab()): Promise<Tab> {
    const login = tab.client.login(CREDENTIALS);
    await world.run(100);
    await login;
    return tab;
}

/** The tokens that are out are refused; those to come are not. */
function refuseOldTokens(world: World) {
    const before = world.now;
    const isOld = (request: Request) => Number(request.headers.get('authorization')?.split('.')[3]) <= before + 900_000;
    world.gateway.api = (request) =>
        isOld(request)
            ? json(
                  401,
                  { error: 'invalid_token' },
                  { 'www-authenticate': 'Bearer error="invalid_token", error_description="revoked"' },
              )
            : undefined;
}

const WANTS_LOGIN = { error: 'insufficient_user_authentication', code: 'login_too_old' };

function wantsLogin(): Response {
    const challenge = 'Bearer error="insufficient_user_authentication", error_description="…", max_age="600"';
    return json(401, WANTS_LOGIN, { 'www-authenticate': challenge.replace('…', 'This resource needs a more recent login.') });
}

describe('401 with insufficient_user_authentication', () => {
    test("is the application's to answer: the session goes on, and a login makes the next request pass", async () => {
        const world = new World();
        const tab = await signedIn(world);
        world.gateway.api = wantsLogin;
        const answer = await settled(world, tab.client.fetch('/api/payments'));
        expect(answer.headers.get('www-authenticate')).toContain('max_age="600"');
        expect(tab.client.state().status).toBe('signed-in');
        expect(tab.refreshes()).toBe(0);
        world.gateway.api = undefined;
        await signedIn(world, tab);
        expect((await settled(world, tab.client.fetch('/api/payments'))).status).toBe(200);
    });
});

describe('401 with invalid_token', () => {
    test('refreshes once and repeats once', async () => {
        const world = new World();
        const tab = await signedIn(world);
        refuseOldTokens(world);
        const answer = await settled(world, tab.client.fetch('/api/x'));
        expect(answer.status).toBe(200);
        expect(tab.refreshes()).toBe(1);
        expect(world.gateway.calls.map(({ status }) => status)).toEqual([401, 200]);
    });

    test('is met by one refresh of twenty requests at once', async () => {
        const world = new World();
        const tab = await signedIn(world);
        refuseOldTokens(world);
        tab.fate = () => ({ there: world.random() * 200, back: world.random() * 200 });
        const answers = await settled(
            world,
            Promise.all(Array.from({ length: 20 }, (_, i) => tab.client.fetch(`/api/${i}`))),
            3000,
        );
        expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(200));
        expect(tab.refreshes()).toBe(1);
    });

    test('a second one is the answer', async () => {
        const world = new World();
        const tab = await signedIn(world);
        world.gateway.api = () => json(401, { error: 'invalid_token' }, { 'www-authenticate': 'Bearer error="invalid_token"' });
        expect((await settled(world, tab.client.fetch('/api/x'))).status).toBe(401);
        expect(tab.refreshes()).toBe(1);
        expect(world.gateway.calls.length).toBe(2);
    });

    test.each<[string, () => Response]>([
        ['a 401 of the API itself', () => json(401, { error: 'password required' })],
        ['a 401 for want of a token', () => json(401, {}, { 'www-authenticate': 'Bearer' })],
        ['a 401 for want of a recent login (RFC 9470)', wantsLogin],
        ['the same to a page that cannot see the challenge', () => json(401, WANTS_LOGIN)],
        ['403', () => json(403, { error: 'insufficient_scope' }, { 'www-authenticate': 'Bearer error="insufficient_scope"' })],
        ['503', () => json(503, {})],
    ])('%s is not met by a refresh', async (_name, response) => {
        const world = new World();
        const tab = await signedIn(world);
        world.gateway.api = response;
        const answer = await settled(world, tab.client.fetch('/api/x'));
        expect(answer.status).toBe(response().status);
        expect(await answer.json()).toEqual(await response().json());
        expect(tab.refreshes()).toBe(0);
    });

    test('is known by the body where the field is hidden from another origin', async () => {
        const world = new World();
        const tab = await signedIn(world);
        let calls = 0;
        world.gateway.api = () => (++calls === 1 ? json(401, { error: 'invalid_token' }) : undefined);
        expect((await settled(world, tab.client.fetch('/api/x'))).status).toBe(200);
    });

    test('ends in signed-out when the session was ended elsewhere, and is the answer', async () => {
        const world = new World();
        const tab = await signedIn(world);
        world.gateway.end(1);
        expect((await settled(world, tab.client.fetch('/api/x'))).status).toBe(401);
        expect(tab.status).toBe('signed-out');
    });

    test('that cannot be mended now is no 401 for the application', async () => {
        const world = new World();
        const tab = await signedIn(world);
        refuseOldTokens(world);
        tab.fate = (path) => (path === '/refresh' ? { ...OK, answer: () => json(503, {}, { 'retry-after': '5' }) } : OK);
        const answer = settled(world, tab.client.fetch('/api/x'), 20_000);
        await expect(answer).rejects.toMatchObject({ name: 'TokengateError', code: 'refresh_unavailable', retryAfter: 5 });
        expect(tab.status).toBe('signed-in');
    });

    test('a refresh that fails at first is waited for', async () => {
        const world = new World();
        const tab = await signedIn(world);
        refuseOldTokens(world);
        let attempts = 0;
        tab.fate = (path) =>
            path === '/refresh' && ++attempts <= 2 ? { ...OK, answer: () => json(503, {}, { 'retry-after': '1' }) } : OK;
        expect((await settled(world, tab.client.fetch('/api/x'), 10_000)).status).toBe(200);
        expect(tab.refreshes()).toBe(3);
    });

    test('waiting ends when the caller gives up', async () => {
        const world = new World();
        const tab = await signedIn(world);
        refuseOldTokens(world);
        tab.fate = (path) => (path === '/refresh' ? { there: 5000, back: 5 } : OK);
        const controller = new AbortController();
        const answer = tab.client.fetch('/api/x', { signal: controller.signal });
        answer.catch(() => undefined);
        await world.run(100);
        controller.abort(new Error('no longer wanted'));
        await world.run(1);
        await expect(answer).rejects.toThrow('no longer wanted');
    });

    test('a request of one user is not repeated as another', async () => {
        const world = new World();
        const tab = await signedIn(world);
        refuseOldTokens(world);
        tab.fate = (path) => (path === '/refresh' ? { there: 500, back: 5 } : OK);
        const answer = tab.client.fetch('/api/transfer', { method: 'POST', body: 'all of it' });
        await world.run(50);
        const login = tab.client.login({ email: 'eve@example.com', password: 'right' });
        expect((await settled(world, answer, 3000)).status).toBe(401);
        await login;
        expect(world.gateway.calls.length).toBe(1);
    });
});

describe('bodies', () => {
    const form = () => {
        const form = new FormData();
        form.set('title', 'engine');
        form.set('file', new File(['x'.repeat(100_000)], 'plan.txt'));
        return form;
    };
    test.each<[string, () => BodyInit]>([
        ['a text', () => 'text'],
        ['parameters', () => new URLSearchParams({ a: 'b' })],
        ['bytes', () => new TextEncoder().encode('bytes')],
        ['a file', () => new Blob(['blob'])],
        ['a form with a file', form],
    ])('%s is sent again', async (_name, body) => {
        const world = new World();
        const tab = await signedIn(world);
        refuseOldTokens(world);
        expect((await settled(world, tab.client.fetch('/api/upload', { method: 'POST', body: body() }))).status).toBe(200);
        const [first, second] = world.gateway.calls.map(({ body }) => body.replace(/-{4,}\S+/g, 'boundary'));
        expect(first!.length).toBeGreaterThan(2);
        expect(second).toBe(first);
    });

    test('that of a Request is sent again', async () => {
        const world = new World();
        const tab = await signedIn(world);
        refuseOldTokens(world);
        const request = new Request(`${ORIGIN}/api/upload`, { method: 'PUT', body: 'text', headers: { 'x-mine': '1' } });
        expect((await settled(world, tab.client.fetch(request))).status).toBe(200);
        expect(world.gateway.calls.map(({ body }) => body)).toEqual(['text', 'text']);
        expect(tab.requests.at(-1)!.headers.get('x-mine')).toBe('1');
    });

    test('a stream can be sent once: the 401 is the answer, and the next request has a new token', async () => {
        const world = new World();
        const tab = await signedIn(world);
        refuseOldTokens(world);
        const answer = await settled(
            world,
            tab.client.fetch('/api/upload', { method: 'POST', body: new Blob(['once']).stream() }),
        );
        expect(answer.status).toBe(401);
        expect(world.gateway.calls.length).toBe(1);
        expect(tab.refreshes()).toBe(1);
        expect((await settled(world, tab.client.fetch('/api/x'))).status).toBe(200);
        expect(tab.refreshes()).toBe(1);
    });
});

describe('where the token goes', () => {
    const sent = async (world: World, tab: Tab, input: string | URL | Request, init?: RequestInit) => {
        await settled(
            world,
            tab.client.fetch(input, init).catch(() => undefined),
        );
        return tab.requests.at(-1)!.headers.get('authorization');
    };

    test('to the gateway and the listed origins, and nowhere else', async () => {
        const world = new World();
        const tab = await signedIn(world, world.tab({ baseUrl: ORIGIN, origins: ['https://uploads.example.com'] }));
        expect(await sent(world, tab, '/api/x')).toMatch(/^Bearer a\./);
        expect(await sent(world, tab, new URL('/api/x', ORIGIN))).toMatch(/^Bearer a\./);
        expect(await sent(world, tab, 'https://uploads.example.com/x')).toMatch(/^Bearer a\./);
        for (const elsewhere of [
            'https://evil.example.com/',
            'http://app.example.com/',
            'https://app.example.com:8443/',
            'https://app.example.com.evil.example/',
            'https://app.example.com@evil.example/',
            '//evil.example.com/api/x',
            'https://example.com/',
        ]) {
            expect(await sent(world, tab, elsewhere), elsewhere).toBeNull();
        }
        expect(await sent(world, tab, new Request('https://evil.example.com/'))).toBeNull();
    });

    test('not where the caller brings a field of its own', async () => {
        const world = new World();
        const tab = await signedIn(world);
        expect(await sent(world, tab, '/api/x', { headers: { Authorization: 'Basic eDp5' } })).toBe('Basic eDp5');
        expect(tab.refreshes()).toBe(0);
    });

    test('relative addresses are relative to baseUrl', async () => {
        const world = new World();
        const tab = world.tab({ baseUrl: 'https://api.example.com/v1/' });
        await settled(world, tab.client.fetch('users'));
        await settled(world, tab.client.fetch('/health'));
        expect(tab.requests.map(({ path }) => path)).toEqual(['/v1/users', '/health']);
    });

    test('signed out, requests go without', async () => {
        const world = new World();
        const tab = world.tab();
        expect(await sent(world, tab, '/api/x')).toBeNull();
        expect(tab.refreshes()).toBe(0);
    });
});

describe('for other HTTP clients', () => {
    test('the access token is a live one', async () => {
        const world = new World();
        const tab = await signedIn(world);
        tab.freeze();
        await world.run(20 * 60_000);
        const token = tab.client.accessToken();
        tab.thaw();
        expect(await settled(world, token)).toBe(tab.stored?.session?.accessToken);
        expect(tab.refreshes()).toBe(1);
    });

    test('a refused one is replaced once, for all who were refused it', async () => {
        const world = new World();
        const tab = await signedIn(world);
        const refused = (await settled(world, tab.client.accessToken()))!;
        const tokens = await settled(world, Promise.all(Array.from({ length: 20 }, () => tab.client.accessToken({ refused }))));
        expect(new Set(tokens).size).toBe(1);
        expect(tokens[0]).not.toBe(refused);
        expect(await settled(world, tab.client.accessToken({ refused }))).toBe(tokens[0]);
        expect(tab.refreshes()).toBe(1);
    });

    test('there is none when nobody is signed in', async () => {
        const world = new World();
        expect(await settled(world, world.tab().client.accessToken())).toBeUndefined();
    });
});
