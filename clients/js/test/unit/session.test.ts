import { afterEach, describe, expect, test, vi } from 'vitest';

import { createClient } from '../../src/index.js';
import { json, refused } from './gateway.js';
import { type Fate, ORIGIN, World, settled } from './world.js';

const CREDENTIALS = { email: 'ada@example.com', password: 'right' };
const OK: Fate = { there: 5, back: 5 };

/** As much of `localStorage` as is used here. */
function fakeLocalStorage(entries: Record<string, string> = {}) {
    const map = new Map(Object.entries(entries));
    const fake = {
        getItem: (key: string) => map.get(key) ?? null,
        setItem: (key: string, value: string) => void map.set(key, value),
        removeItem: (key: string) => void map.delete(key),
    };
    vi.stubGlobal('localStorage', fake);
    vi.stubGlobal('window', { addEventListener: () => undefined, removeEventListener: () => undefined });
    return map;
}

afterEach(() => vi.unstubAllGlobals());

describe('login', () => {
    test.each(['login', 'register', 'quickRegister'] as const)(
        '%s signs in with the user of the answer, which it gives back',
        async (call) => {
            const world = new World();
            const tab = world.tab();
            const heard: unknown[] = [];
            tab.client.subscribe(() => heard.push(tab.client.state()));
            expect(tab.client.state()).toEqual({ status: 'signed-out', user: null });
            const answer = await settled(world, tab.client[call](CREDENTIALS));
            expect(answer).toMatchObject({ user: { id: 'ada@example.com' } });
            expect(heard).toEqual([{ status: 'signed-in', user: { id: 'ada@example.com' } }]);
            expect(tab.client.state()).toBe(tab.client.state());
        },
    );

    test('takes any body and any path', async () => {
        const world = new World();
        const tab = world.tab({ endpoints: { login: '/auth/login' } });
        const form = new FormData();
        class Credentials {
            email = 'x';
        }
        for (const [body, type] of [
            [{ a: 1 }, 'application/json'],
            [new Credentials(), 'application/json'],
            ['text', 'text/plain;charset=UTF-8'],
            [new URLSearchParams({ a: 'b' }), 'application/x-www-form-urlencoded;charset=UTF-8'],
            [form, /^multipart\/form-data/],
        ] as const) {
            await settled(
                world,
                tab.client.login(body).catch(() => undefined),
            );
            const { path, headers } = tab.requests.at(-1)!;
            expect(path).toBe('/auth/login');
            if (typeof type === 'string') expect(headers.get('content-type')).toBe(type);
            else expect(headers.get('content-type')).toMatch(type);
        }
        await settled(
            world,
            tab.client.register({}, { path: '/v2/sign-up', headers: { 'x-captcha': 'c' } }).catch(() => undefined),
        );
        expect(tab.requests.at(-1)).toMatchObject({ path: '/v2/sign-up' });
        expect(tab.requests.at(-1)!.headers.get('x-captcha')).toBe('c');
    });

    test('that is refused says why, and changes nothing', async () => {
        const world = new World();
        const tab = world.tab();
        await settled(world, tab.client.login(CREDENTIALS));
        const login = settled(world, tab.client.login({ ...CREDENTIALS, password: 'wrong' }));
        await expect(login).rejects.toMatchObject({
            code: 'refused',
            status: 401,
            message: 'wrong password',
            problem: { code: 'credentials_invalid' },
        });
        expect(tab.status).toBe('signed-in');
        await world.run(3_600_000);
        expect(tab.status).toBe('signed-in');
        expect(world.gateway.falseLogouts).toBe(0);
    });

    test('whose answer grants nothing yet signs nobody in', async () => {
        const world = new World();
        const tab = world.tab({}, { fate: () => ({ ...OK, answer: () => json(200, { mfa: 'required' }) }) });
        expect(await settled(world, tab.client.login(CREDENTIALS))).toEqual({ mfa: 'required' });
        expect(tab.status).toBe('signed-out');
    });

    test('ends the session that was there', async () => {
        const world = new World();
        const tab = world.tab();
        await settled(world, tab.client.login(CREDENTIALS));
        await settled(world, tab.client.login({ ...CREDENTIALS, email: 'eve@example.com' }));
        expect([world.gateway.isOver(1), world.gateway.isOver(2)]).toEqual([true, false]);
        expect(tab.client.state().user).toEqual({ id: 'eve@example.com' });
    });

    test('that the gateway leaves to the API goes on with its token, which is exchanged when it is refused', async () => {
        const world = new World();
        const tab = world.tab();
        tab.fate = () => ({ ...OK, answer: () => json(200, { token: 'api.jwt', user: { id: 'ada' } }) });
        await settled(world, tab.client.login(CREDENTIALS));
        expect(tab.client.state()).toEqual({ status: 'signed-in', user: { id: 'ada' } });
        tab.fate = () => OK;
        world.gateway.api = () => json(200, {});
        await world.run(86_400_000);
        expect((await settled(world, tab.client.fetch('/api/x'))).status).toBe(200);
        expect(tab.requests.at(-1)!.headers.get('authorization')).toBe('Bearer api.jwt');
        expect(tab.refreshes()).toBe(0);

        world.gateway.api = (request) =>
            request.headers.get('authorization') === 'Bearer api.jwt' ? json(401, { error: 'invalid_token' }) : json(200, {});
        const pair = () => json(200, { accessToken: 'a', refreshToken: 'r', expiresIn: 900, generation: 1 });
        tab.fate = (path) => (path === '/refresh' ? { ...OK, answer: pair } : OK);
        expect((await settled(world, tab.client.fetch('/api/x'))).status).toBe(200);
        expect(JSON.parse(String(tab.requests.find(({ path }) => path === '/refresh')!.body))).toEqual({
            refreshToken: 'api.jwt',
        });
        expect(tab.client.state().user).toEqual({ id: 'ada' });
    });

    test('understands other names of members, and another user', async () => {
        const world = new World();
        const answer = () =>
            json(200, { profile: { name: 'Ada', secret: 's' }, access: 'A', renew: 'R', seconds: 600, counter: 7 });
        const tab = world.tab(
            {
                members: { accessToken: 'access', refreshToken: 'renew', expiresIn: 'seconds', generation: 'counter' },
                user: (answer) => ({ name: (answer.profile as { name: string }).name }),
            },
            { fate: () => ({ ...OK, answer }) },
        );
        await settled(world, tab.client.login({}));
        expect(tab.client.state()).toEqual({ status: 'signed-in', user: { name: 'Ada' } });
        expect(tab.stored?.session).toMatchObject({ accessToken: 'A', refreshToken: 'R', expiresIn: 600, generation: 7 });
    });
});

describe('logout', () => {
    test('signs out before the gateway has answered', async () => {
        const world = new World();
        const tab = world.tab();
        await settled(world, tab.client.login(CREDENTIALS));
        const logout = tab.client.logout('all');
        expect(tab.status).toBe('signed-out');
        expect(await settled(world, logout)).toEqual({ ended: 1 });
        expect(JSON.parse(String(tab.requests.at(-1)!.body))).toMatchObject({ scope: 'all', refreshToken: 'r.1.1.0' });
        expect(tab.requests.at(-1)!.init.keepalive).toBe(true);
    });

    test('of the others leaves this one alone', async () => {
        const world = new World();
        const tab = world.tab();
        await settled(world, tab.client.login(CREDENTIALS));
        world.gateway.api = undefined;
        tab.fate = (path) => (path === '/logout' ? { ...OK, answer: () => json(200, { ended: 4 }) } : OK);
        expect(await settled(world, tab.client.logout('others'))).toEqual({ ended: 4 });
        expect(tab.status).toBe('signed-in');
    });

    test.each(['all', 'others'] as const)('of %s with a token that has expired is repeated with a new one', async (scope) => {
        const world = new World();
        const tab = world.tab();
        await settled(world, tab.client.login(CREDENTIALS));
        let told = 0;
        tab.fate = (path) =>
            path !== '/logout'
                ? OK
                : { ...OK, answer: () => (++told === 1 ? json(401, { code: 'token_expired' }) : json(200, { ended: 2 })) };
        expect(await settled(world, tab.client.logout(scope), 5000)).toEqual({ ended: 2 });
        expect(JSON.parse(String(tab.requests.at(-1)!.body))).toMatchObject({ scope, refreshToken: 'r.1.2.1' });
        expect(tab.status).toBe(scope === 'all' ? 'signed-out' : 'signed-in');
        expect(tab.stored?.session?.generation).toBe(scope === 'all' ? undefined : 2);
    });

    test('that was not confirmed is tried three times, says so, and can be repeated', async () => {
        const world = new World();
        const tab = world.tab();
        await settled(world, tab.client.login(CREDENTIALS));
        tab.fate = (path) => (path === '/logout' ? { ...OK, answer: () => json(503, {}) } : OK);
        await expect(settled(world, tab.client.logout(), 10_000)).rejects.toMatchObject({ code: 'logout_unconfirmed' });
        expect(tab.requests.filter(({ path }) => path === '/logout').length).toBe(3);
        expect([tab.status, world.gateway.isOver(1)]).toEqual(['signed-out', false]);
        tab.fate = () => OK;
        expect(await settled(world, tab.client.logout())).toEqual({ ended: 1 });
        expect(world.gateway.isOver(1)).toBe(true);
        expect(await settled(world, tab.client.logout())).toEqual({ ended: 0 });
    });
});

describe('devices', () => {
    test('are listed and ended by the paths of the gateway', async () => {
        const world = new World();
        const tab = world.tab();
        await settled(world, tab.client.login(CREDENTIALS));
        world.gateway.api = (request) =>
            request.method === 'GET'
                ? json(200, { sessions: [{ id: 's1', current: true }] })
                : new Response(null, { status: 204 });
        expect(await settled(world, tab.client.sessions())).toEqual([{ id: 's1', current: true }]);
        await settled(world, tab.client.endSession('a/b'));
        expect(tab.requests.at(-1)).toMatchObject({ path: '/sessions/a%2Fb', method: 'DELETE' });
    });
});

describe('many devices', () => {
    test('are asked for page by page', async () => {
        const world = new World();
        const tab = world.tab();
        await settled(world, tab.client.login(CREDENTIALS));
        world.gateway.api = (request) => {
            const after = new URL(request.url).searchParams.get('after');
            return after
                ? json(200, { sessions: [{ id: 's1' }] })
                : json(200, { sessions: [{ id: 's3' }, { id: 's2' }], next: 's2' });
        };
        expect(await settled(world, tab.client.sessions())).toEqual([{ id: 's3' }, { id: 's2' }, { id: 's1' }]);
        expect(world.gateway.calls.length).toBe(2);
    });
});

describe('an old token', () => {
    const exchange = (answer: () => Response) => (path: string) => (path === '/refresh' ? { ...OK, answer } : OK);
    const pair = () => json(200, { accessToken: 'a.1.1.900000.1', refreshToken: 'r.1.1.0', expiresIn: 900, generation: 1 });

    test('is exchanged once, and removed', async () => {
        const store = fakeLocalStorage({ authToken: 'old.jwt.token' });
        const world = new World();
        const tab = world.tab({ oldTokenKey: 'authToken' }, { fate: exchange(pair) });
        expect(tab.status).toBe('unknown');
        await world.run(1000);
        expect(tab.status).toBe('signed-in');
        expect(tab.requests.map(({ path, body }) => [path, JSON.parse(String(body))])).toEqual([
            ['/refresh', { refreshToken: 'old.jwt.token' }],
        ]);
        expect(store.has('authToken')).toBe(false);
        expect(tab.stored?.session?.refreshToken).toBe('r.1.1.0');
    });

    test('is kept, and nobody signed out, while the gateway cannot be asked', async () => {
        const store = fakeLocalStorage({ authToken: 'old.jwt.token' });
        const world = new World();
        const tab = world.tab({ oldTokenKey: 'authToken' }, { fate: exchange(() => json(503, {})) });
        await world.run(60_000);
        expect([tab.status, store.get('authToken'), tab.stored]).toEqual(['unknown', 'old.jwt.token', undefined]);
        await expect(settled(world, tab.client.fetch('/api/x'), 20_000)).rejects.toMatchObject({ code: 'refresh_unavailable' });
        tab.fate = exchange(pair);
        await world.run(120_000);
        expect(tab.status).toBe('signed-in');
    });

    test('that is refused is removed', async () => {
        const store = fakeLocalStorage({ authToken: 'old.jwt.token' });
        const world = new World();
        const tab = world.tab({ oldTokenKey: 'authToken' }, { fate: exchange(refused) });
        await world.run(1000);
        expect([tab.status, store.has('authToken'), tab.refreshes()]).toEqual(['signed-out', false, 1]);
    });

    test('that another tab has exchanged is taken from there, though it was refused here', async () => {
        const store = fakeLocalStorage({ authToken: 'old.jwt.token' });
        const world = new World();
        const habits = { hasLocks: false };
        const [a, b] = [
            world.tab({ oldTokenKey: 'authToken' }, { ...habits, fate: exchange(pair) }),
            world.tab({ oldTokenKey: 'authToken' }, habits),
        ];
        a.fate = (path) => (path === '/refresh' ? { there: 5, back: 500, answer: pair } : OK);
        b.fate = exchange(refused);
        await world.run(1000);
        expect([a.status, b.status]).toEqual(['signed-in', 'signed-in']);
        expect(store.has('authToken')).toBe(false);
    });

    test('does not outlive a logout', async () => {
        const store = fakeLocalStorage({ authToken: 'old.jwt.token' });
        const world = new World();
        const tab = world.tab({ oldTokenKey: 'authToken' }, { fate: exchange(() => json(503, {})) });
        await world.run(1000);
        tab.fate = () => OK;
        await settled(world, tab.client.logout(), 5000);
        expect([tab.status, store.has('authToken')]).toEqual(['signed-out', false]);
        await world.run(600_000);
        expect(tab.status).toBe('signed-out');
    });

    test('is left alone where the key is switched off', async () => {
        const store = fakeLocalStorage({ authToken: 'old.jwt.token' });
        const tab = new World().tab({ oldTokenKey: false });
        expect([tab.status, store.has('authToken')]).toEqual(['signed-out', true]);
    });
});

describe('storages', () => {
    test('in localStorage, one entry holds all of it', async () => {
        const store = fakeLocalStorage();
        const world = new World();
        const tab = world.tab({ storage: 'localStorage', key: 'mine' });
        await settled(world, tab.client.login(CREDENTIALS));
        expect([...store.keys()]).toEqual(['mine']);
        const reloaded = world.tab({ storage: 'localStorage', key: 'mine' });
        expect(reloaded.client.state()).toEqual(tab.client.state());
        await settled(world, tab.client.logout());
        expect(store.get('mine')).not.toContain('Token');
    });

    test.each([
        [
            'full',
            {
                setItem: () => {
                    throw new DOMException('full', 'QuotaExceededError');
                },
            },
        ],
        [
            'blocked',
            {
                getItem: () => {
                    throw new DOMException('no', 'SecurityError');
                },
                setItem: () => {
                    throw new DOMException('no', 'SecurityError');
                },
            },
        ],
    ])('where it is %s, the tab goes on by itself', async (_name, faults) => {
        fakeLocalStorage();
        Object.assign(localStorage, faults);
        const world = new World();
        const tab = world.tab({ storage: 'localStorage' });
        await settled(world, tab.client.login(CREDENTIALS));
        await world.run(3_600_000);
        expect((await settled(world, tab.client.fetch('/api/x'))).status).toBe(200);
    });

    test.each(['{', 'null', '"x"', '{"epoch":1}'])('where it holds %s, nobody is signed in', async (text) => {
        fakeLocalStorage({ tokengate: text });
        const world = new World();
        const tab = world.tab({ storage: 'localStorage' });
        expect(tab.status).toBe('signed-out');
        await settled(world, tab.client.login(CREDENTIALS));
        expect(tab.status).toBe('signed-in');
    });

    test('in memory, each tab is by itself', async () => {
        const world = new World();
        const [a, b] = [world.tab({ storage: 'memory' }), world.tab({ storage: 'memory' })];
        await settled(world, a.client.login(CREDENTIALS));
        expect([a.status, b.status]).toEqual(['signed-in', 'signed-out']);
        await world.run(3_600_000);
        expect((await settled(world, a.client.fetch('/api/x'))).status).toBe(200);
    });

    test('with cookies, no script holds a token, and calls that change something say where they come from', async () => {
        const store = fakeLocalStorage();
        const world = new World();
        const answer = (path: string) =>
            path.startsWith('/api')
                ? () => json(200, {})
                : () => json(200, { user: { id: 'ada' }, accessToken: 'secret', expiresIn: 900, generation: 3 });
        const tab = world.tab({ storage: 'cookie' }, { fate: (path) => ({ ...OK, answer: answer(path) }) });
        await settled(world, tab.client.login(CREDENTIALS));
        expect(tab.client.state()).toEqual({ status: 'signed-in', user: { id: 'ada' } });
        expect(store.get('tokengate')).toContain('"generation":3');
        expect(store.get('tokengate')).not.toContain('secret');
        await settled(world, tab.client.fetch('/api/x'));
        await settled(world, tab.client.fetch('/api/x', { method: 'DELETE' }));
        expect(
            tab.requests.map(({ method, headers, init }) => [
                method,
                headers.get('x-csrf'),
                headers.get('authorization'),
                init.credentials,
            ]),
        ).toEqual([
            ['POST', '1', null, 'include'],
            ['GET', null, null, 'include'],
            ['DELETE', '1', null, 'include'],
        ]);
        expect(await settled(world, tab.client.accessToken())).toBeUndefined();
        await world.run(900_000);
        expect(tab.requests.filter(({ path }) => path === '/refresh').map(({ body }) => body)).toEqual(['{}']);
    });

    test('with cookies, a request whose cookie has run out is repeated after a refresh', async () => {
        fakeLocalStorage();
        const world = new World();
        let calls = 0;
        const answers: Record<string, () => Response> = {
            '/api/x': () =>
                ++calls === 1 ? json(401, { code: 'token_missing' }, { 'www-authenticate': 'Bearer' }) : json(200, {}),
        };
        const pair = () => json(200, { user: { id: 'ada' }, expiresIn: 900, generation: 3 });
        const tab = world.tab({ storage: 'cookie' }, { fate: (path) => ({ ...OK, answer: answers[path] ?? pair }) });
        await settled(world, tab.client.login(CREDENTIALS));
        expect((await settled(world, tab.client.fetch('/api/x'))).status).toBe(200);
        expect(tab.refreshes()).toBe(1);
    });
});

describe('the life of a client', () => {
    test('disposed of, it does nothing any more, and the session lives on', async () => {
        const world = new World();
        const tab = world.tab();
        await settled(world, tab.client.login(CREDENTIALS));
        tab.client.dispose();
        tab.client.dispose();
        await world.run(3_600_000);
        expect(tab.refreshes()).toBe(0);
        expect(world.gateway.isOver(1)).toBe(false);
        expect(tab.status).toBe('signed-in');
    });

    test('whoever subscribes wakes it again', async () => {
        const world = new World();
        const tab = world.tab();
        await settled(world, tab.client.login(CREDENTIALS));
        tab.client.dispose();
        const unsubscribe = tab.client.subscribe(() => undefined);
        await world.run(900_000);
        expect(tab.refreshes()).toBe(1);
        unsubscribe();
        unsubscribe();
    });

    test('the same listener may be there twice', async () => {
        const world = new World();
        const tab = world.tab();
        let calls = 0;
        const listener = () => void calls++;
        const [first] = [tab.client.subscribe(listener), tab.client.subscribe(listener)];
        first();
        await settled(world, tab.client.login(CREDENTIALS));
        expect(calls).toBe(1);
    });

    test('a listener that fails stops nothing', async () => {
        const uncaught = vi.fn();
        vi.stubGlobal('queueMicrotask', (call: () => void) => {
            try {
                call();
            } catch (error) {
                uncaught(error);
            }
        });
        const world = new World();
        const tab = world.tab({
            onEvent: () => {
                throw new Error('listener');
            },
        });
        tab.client.subscribe(() => {
            throw new Error('listener');
        });
        await settled(world, tab.client.login(CREDENTIALS));
        await world.run(900_000);
        expect(tab.status).toBe('signed-in');
        expect(tab.refreshes()).toBe(1);
        expect(uncaught).toHaveBeenCalled();
    });

    test('on a server nothing runs, and nobody knows who is signed in', () => {
        const client = createClient({ baseUrl: ORIGIN });
        expect(client.state()).toEqual({ status: 'unknown', user: null });
        expect(client.refreshIn()).toBe(Infinity);
        client.subscribe(() => undefined)();
        expect(client.state()).toEqual({ status: 'unknown', user: null });
    });
});
