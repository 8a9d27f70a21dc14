/** The real gateway, with a Redis and an API of its own, on free ports. */

import { execFileSync, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createPort } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

import { USER } from '../src/gateway.mjs';
import { pause } from '../src/stage.mjs';

const BINARY = resolve(process.env.TOKENGATE_BIN ?? join(import.meta.dirname, '../../../target/debug/tokengate'));
const START_MILLISECONDS_MAX = 30_000;

export const LEEWAY_SECONDS = 2;
export const RECENT_SECONDS = 1;

export async function startReal() {
    if (!existsSync(BINARY)) throw new Error(`${BINARY} is not there: cargo build, or set TOKENGATE_BIN`);
    const folder = mkdtempSync(join(tmpdir(), 'tokengate-fidelity-'));
    const api = await startApi();
    const port = await freePort();
    const redis = spawn('redis-server', ['--port', port, '--bind', '127.0.0.1', '--save', '', '--dir', folder], {
        stdio: 'ignore',
    });
    execFileSync(BINARY, ['keys', 'generate', '--algorithm', 'HS256', '--directory', join(folder, 'keys')]);
    const file = join(folder, 'tokengate.toml');
    writeFileSync(file, settings(`http://127.0.0.1:${api.address().port}`, port, folder));
    const gateway = spawn(BINARY, ['run', '--config', file], { stdio: ['ignore', 'ignore', 'pipe'] });
    const stop = async () => {
        for (const child of [gateway, redis]) {
            if (child.exitCode !== null || child.signalCode !== null) continue;
            const ended = new Promise((resolve) => child.once('exit', resolve));
            child.kill('SIGKILL');
            await ended;
        }
        await new Promise((resolve) => api.close(resolve));
        rmSync(folder, { recursive: true, force: true });
    };
    try {
        const url = `http://${await listening(gateway)}`;
        await until(async () => (await fetch(`${url}/readyz`)).ok, 'the gateway is ready');
        return { url, stop, loseStore: () => redis.kill('SIGKILL'), expired: (token) => expired(token, join(folder, 'keys')) };
    } catch (error) {
        await stop();
        throw error;
    }
}

/** The token as it would be had it been issued a day ago, with a signature that holds. */
function expired(token, keys) {
    const [header, claims] = token.split('.');
    const { iat, exp, auth_time, ...others } = JSON.parse(Buffer.from(claims, 'base64url').toString());
    const DAY = 86_400;
    const older = { ...others, iat: iat - DAY, exp: exp - DAY, auth_time: auth_time - DAY };
    const signed = `${header}.${Buffer.from(JSON.stringify(older)).toString('base64url')}`;
    const secret = Buffer.from(readFileSync(join(keys, readdirSync(keys)[0]), 'utf8'), 'base64');
    return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

function settings(api, redis, folder) {
    return `
refresh.secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
refresh.leeway = "${LEEWAY_SECONDS}s"
refresh.acknowledge_interval = "100ms"
tokens.algorithm = "HS256"
keys.directory = "${folder}/keys"
log.format = "json"
limits.refresh.per_account = "10/1m"
revocation = { max_staleness = "3s", heartbeat = "1s" }
admin.address = "127.0.0.1:0"
upstreams.api.url = "${api}"

[listen]
address = "127.0.0.1:0"
workers = 1

[[routes]]
name = "admin"
prefix = "/api/admin"
scopes = ["admin"]

[[routes]]
name = "recent"
prefix = "/api/recent"
max_login_age = "${RECENT_SECONDS}s"

[[routes]]
name = "api"
prefix = "/api"

[store]
kind = "redis"
redis.url = "redis://127.0.0.1:${redis}"
`;
}

/** What the scripted gateway plays beside its own part. */
async function startApi() {
    const api = createServer(async (request, response) => {
        const chunks = [];
        for await (const chunk of request) chunks.push(chunk);
        const body = Buffer.concat(chunks).toString();
        const [status, object] = request.url === '/login' ? login(JSON.parse(body)) : [200, echo(request, body)];
        response
            .writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
            .end(JSON.stringify(object));
    });
    await new Promise((resolve) => api.listen(0, '127.0.0.1', resolve));
    return api;
}

function login({ email, password }) {
    return password === USER.password ? [200, { user: { id: email } }] : [401, { error: 'wrong credentials' }];
}

function echo(request, body) {
    return { subject: request.headers['x-auth-subject'], method: request.method, body };
}

function listening(gateway) {
    const log = [];
    return new Promise((resolve, reject) => {
        const late = setTimeout(() => reject(new Error(`no gateway: ${log.join('\n')}`)), START_MILLISECONDS_MAX);
        gateway.on('exit', () => reject(new Error(`the gateway ended: ${log.join('\n')}`)));
        createInterface({ input: gateway.stderr }).on('line', (line) => {
            log.push(line);
            const { message, gateway: address } = JSON.parse(line);
            if (message !== 'listening') return;
            clearTimeout(late);
            resolve(address);
        });
    });
}

export async function until(isTrue, what) {
    const deadline = Date.now() + START_MILLISECONDS_MAX;
    while (!(await isTrue())) {
        if (Date.now() > deadline) throw new Error(`not in time: ${what}`);
        await pause(50);
    }
}

async function freePort() {
    const server = createPort();
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address();
    await new Promise((resolve) => server.close(resolve));
    return String(port);
}
