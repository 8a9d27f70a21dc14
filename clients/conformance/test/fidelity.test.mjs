/** The scripted gateway responds as the real one does: the same calls to both, and every response compared. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Gateway, USER } from '../src/gateway.mjs';
import { CODES, problem } from '../src/problems.mjs';
import { pause } from '../src/stage.mjs';
import { LEEWAY_SECONDS, RECENT_SECONDS, startReal, until } from './real.mjs';

const HEADERS = ['content-type', 'cache-control', 'pragma', 'www-authenticate', 'retry-after'];
const seen = new Set();

let real;
let scripted;

before(async () => {
    real = await startReal();
    scripted = await new Gateway({ leeway: LEEWAY_SECONDS }).start();
    scripted.fault('/api/admin', () => problem('scope_insufficient'));
    scripted.fault('/api/recent', () => problem('login_too_old'));
    scripted.expired = () => (scripted.sessions.expireAccessTokens(), undefined);
});

after(async () => {
    await real?.stop();
    await scripted?.stop();
});

/** Plays the same part at both, and compares what each call was met by. */
async function compare(part) {
    const [ofReal, ofScripted] = await Promise.all([real, scripted].map((gateway) => played(gateway, part)));
    assert.deepEqual(ofScripted, ofReal);
}

async function played(gateway, part) {
    const heard = [];
    const call = async (method, path, { token, ...init } = {}) => {
        const headers = { ...init.headers, ...(token && { authorization: `Bearer ${token}` }) };
        const response = await fetch(gateway.url + path, { ...init, method, headers });
        const body = await response.json();
        if (body.code) seen.add(body.code);
        heard.push([`${method} ${path}`, response.status, headersOf(response), shapeOf(body)]);
        return body;
    };
    const send = (path, body, token) =>
        call('POST', path, { token, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
    const form = (path, fields) => call('POST', path, { body: new URLSearchParams(fields) });
    await part({
        gateway,
        get: (path, token) => call('GET', path, { token }),
        send,
        form,
        login: (user = USER) => send('/login', user),
        refresh: (refreshToken) => send('/refresh', { refreshToken }),
        isReal: gateway === real,
    });
    return heard;
}

function headersOf(response) {
    const values = HEADERS.map((name) => [name, response.headers.get(name)]).filter(([, value]) => value !== null);
    // How long a limit lasts depends on the moment.
    return Object.fromEntries(
        values.map(([name, value]) => [name, response.status === 429 && name === 'retry-after' ? 'seconds' : value]),
    );
}

/** The body, with its tokens as what they are made of. */
function shapeOf(body) {
    return Object.fromEntries(Object.entries(body).map(([name, value]) => [name, shapeOfToken(value)]));
}

function shapeOfToken(value) {
    if (typeof value !== 'string') return value;
    if (value.startsWith('tgr_')) return 'a refresh token';
    if (!value.startsWith('ey')) return value;
    const [header, claims] = value.split('.', 2).map((part) => JSON.parse(Buffer.from(part, 'base64url').toString()));
    return {
        header: Object.keys(header),
        claims: Object.keys(claims),
        lifetime: claims.exp - claims.iat,
        generation: claims.gen,
    };
}

test('logins', () =>
    compare(async ({ login }) => {
        await login();
        await login({ ...USER, password: 'wrong' });
    }));

test('requests with good, bad and missing tokens', () =>
    compare(async ({ gateway, login, get, send }) => {
        const { accessToken } = await login();
        await get('/api/orders', accessToken);
        await send('/api/orders', { item: 'punched cards' }, accessToken);
        await get('/api/orders');
        await get('/api/orders', 'nonsense');
        await get('/elsewhere', accessToken);
        await get('/api/orders', gateway.expired(accessToken) ?? accessToken);
    }));

test('requests that tokens do not cover', () =>
    compare(async ({ login, get }) => {
        const { accessToken } = await login();
        await get('/api/admin', accessToken);
        await pause(RECENT_SECONDS * 1000 + 1000);
        await get('/api/recent', accessToken);
    }));

test('refreshes, in JSON and as forms', () =>
    compare(async ({ login, refresh, send, form }) => {
        const first = await login();
        const second = await refresh(first.refreshToken);
        // A response that was lost: the same again.
        const again = await refresh(first.refreshToken);
        assert.equal(again.refreshToken, second.refreshToken);
        await form('/refresh', { grant_type: 'refresh_token', refresh_token: second.refreshToken });
        await refresh('nonsense');
        await send('/refresh', {});
        await form('/refresh', { grant_type: 'refresh_token', refresh_token: 'nonsense' });
        await form('/refresh', { grant_type: 'refresh_token' });
    }));

test('a token that was replaced, and its successor used, ends the session after the leeway', () =>
    compare(async (both) => {
        const { login, refresh, get } = both;
        const first = await login();
        const second = await refresh(first.refreshToken);
        await get('/api/orders', second.accessToken);
        await refresh(first.refreshToken);
        await leewayPasses(both);
        await refresh(first.refreshToken);
        await refresh(second.refreshToken);
        if (both.isReal) await until(async () => (await peek(both, second)) === 'token_revoked', 'the end is known');
        await get('/api/orders', second.accessToken);
    }));

test('a token that was replaced goes on where its successor was never used', () =>
    compare(async (both) => {
        const { login, refresh, get } = both;
        const first = await login();
        await refresh(first.refreshToken);
        await leewayPasses(both);
        const third = await refresh(first.refreshToken);
        assert.equal(third.generation, 3);
        await get('/api/orders', third.accessToken);
    }));

test('logouts', () =>
    compare(async ({ login, refresh, get, send }) => {
        const { accessToken, refreshToken } = await login({ ...USER, email: 'grace@example.com' });
        const other = await login({ ...USER, email: 'grace@example.com' });
        await send('/logout', { scope: 'everything' }, accessToken);
        await send('/logout', { scope: 'others' }, accessToken);
        await get('/api/orders', other.accessToken);
        await send('/logout', { refreshToken });
        await send('/logout', { refreshToken });
        await get('/api/orders', accessToken);
        await refresh(refreshToken);
        await login({ ...USER, email: 'grace@example.com' });
        const last = await login({ ...USER, email: 'grace@example.com' });
        await send('/logout', { scope: 'all' }, last.accessToken);
    }));

test('a limit', () =>
    compare(async ({ gateway, login, refresh, isReal }) => {
        const { refreshToken } = await login();
        if (isReal) await until(async () => (await rawRefresh(gateway, refreshToken)).status === 429, 'the limit is reached');
        else gateway.fault('/refresh', () => problem('rate_limited'), 1);
        await refresh(refreshToken);
    }));

test('a store that is away', () =>
    compare(async (both) => {
        const { gateway, login, refresh, get, isReal } = both;
        const pair = await login();
        if (isReal) gateway.loseStore();
        else gateway.fault('/refresh', () => problem('store_unavailable'));
        await refresh(pair.refreshToken);
        if (isReal) await until(async () => (await peek(both, pair)) === 'revocations_stale', 'the node knows no more');
        else gateway.fault('/api/orders', () => problem('revocations_stale'));
        await get('/api/orders', pair.accessToken);
    }));

test('every refusal of the scripted gateway was compared', () => {
    assert.deepEqual([...CODES].sort(), CODES.filter((code) => seen.has(code)).sort());
});

/** For the scripted gateway at once. */
function leewayPasses({ gateway, isReal }) {
    if (!isReal) return gateway.pass(LEEWAY_SECONDS);
    return pause(LEEWAY_SECONDS * 1000 + 200);
}

function rawRefresh(gateway, refreshToken) {
    return fetch(`${gateway.url}/refresh`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ refreshToken }),
    });
}

/** The code that a request meets, beside what is compared. */
async function peek({ gateway }, { accessToken }) {
    const response = await fetch(`${gateway.url}/api/orders`, { headers: { authorization: `Bearer ${accessToken}` } });
    return (await response.json()).code;
}
