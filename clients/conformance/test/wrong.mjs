/** A client that keeps the rules in most ways, and breaks one that is named by its argument. For the kit's own tests. */

import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { claimsOf } from '../src/sessions.mjs';
import { serve } from '../subjects/protocol.mjs';

const wrong = process.argv[2];
let address;
let path;
/** What a client holds that reads the storage at its start alone. */
let held;

serve({
    start({ gateway, storage }) {
        address = gateway;
        path = join(storage, wrong === 'forgets' ? `${process.pid}.json` : 'session.json');
        held = read();
        return { storage: 'shared' };
    },
    async login(credentials) {
        const response = await post('/login', credentials);
        write(await response.json());
        return { status: response.status };
    },
    async request({ method, path, body }) {
        const used = session();
        if (wrong === 'reads-exp' && used && claimsOf(used.accessToken).exp * 1000 < Date.now()) await refresh(used);
        if (wrong === 'distrusts-iat' && used && claimsOf(used.accessToken).iat * 1000 > Date.now() + 60_000) await refresh(used);
        const first = await send(method, path, body, session());
        if (!shouldRefresh(first) || !used) return { status: first.status };
        if (!(await refresh(used))) return { status: first.status };
        let last = await send(method, path, wrong === 'drops-bodies' ? undefined : body, session());
        for (let i = 0; wrong === 'insists' && last.status === 401 && i < 3; i++)
            last = await send(method, path, body, session());
        return { status: last.status };
    },
    async logout() {
        const { refreshToken } = session();
        if (wrong !== 'keeps-after-logout') write(undefined);
        if (wrong !== 'tells-nobody') await post('/logout', { refreshToken });
        return {};
    },
    state: () => ({ state: session() ? 'signed-in' : 'signed-out' }),
});

function shouldRefresh(response) {
    if (wrong === 'never-refreshes') return false;
    if (wrong === 'refreshes-on-403' && response.status === 403) return true;
    if (wrong === 'refreshes-on-503' && response.status === 503) return true;
    return response.status === 401 && /invalid_token/.test(response.headers.get('www-authenticate') ?? '');
}

async function refresh({ refreshToken }) {
    if (wrong === 'drops-before') write(undefined);
    const response = await post('/refresh', { refreshToken });
    const pair = await response.json().catch(() => ({}));
    if (pair.code === 'refresh_token_invalid') write(undefined);
    if (!pair.accessToken) return false;
    // Whoever keeps the first refresh token spends it again and again.
    write(wrong === 'keeps-first' ? { ...pair, refreshToken } : { refreshToken, ...pair });
    return true;
}

function send(method, path, body, session) {
    const headers = { ...(body && { 'content-type': 'application/json' }) };
    if (session && wrong !== 'sends-no-token') headers.authorization = `Bearer ${session.accessToken}`;
    return fetch(address + path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
}

function post(path, body) {
    return fetch(address + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
}

function session() {
    return wrong === 'reads-once' ? held : read();
}

function read() {
    try {
        return JSON.parse(readFileSync(path, 'utf8'));
    } catch {
        return undefined;
    }
}

function write(session) {
    held = session;
    if (!session) return rmSync(path, { force: true });
    writeFileSync(`${path}.${process.pid}`, JSON.stringify(session));
    renameSync(`${path}.${process.pid}`, path);
}
