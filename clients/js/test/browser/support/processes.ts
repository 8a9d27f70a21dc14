/** The real things: a Redis, and the gateway's own binary, on free ports. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

const BINARY = resolve(process.env.TOKENGATE_BIN ?? join(import.meta.dirname, '../../../../../target/debug/tokengate'));
const START_MAX = 30_000;
/** From SIGTERM to SIGKILL. */
const FAREWELL_MAX = 2_000;

export interface Running {
    url: string;
    stop(): Promise<void>;
}

/** A gateway before `upstream`, with sessions in a Redis of its own. `settings` are keys and values as for `--set`; `more` is for lists. */
export async function startGateway(upstream: string, settings: Record<string, string> = {}, more = ''): Promise<Running> {
    const redis = await startRedis();
    const { urls, stop } = await startNodes([redis.url], upstream, settings, more);
    return {
        url: urls[0]!,
        async stop() {
            await stop();
            await redis.stop();
        },
    };
}

/** The nodes of one deployment. `redis`: the way of each to the Redis that they share. */
export async function startNodes(redis: string[], upstream: string, settings: Record<string, string> = {}, more = '') {
    if (!existsSync(BINARY)) throw new Error(`${BINARY} is not there: cargo build, or set TOKENGATE_BIN`);
    const folder = mkdtempSync(join(tmpdir(), 'tokengate-js-'));
    execFileSync(BINARY, ['keys', 'generate', '--directory', join(folder, 'keys')]);
    const file = join(folder, 'tokengate.toml');
    writeFileSync(file, settingsFile(upstream, folder) + more);
    const nodes = await Promise.all(redis.map((url) => launchGateway(file, folder, { 'store.redis.url': url, ...settings })));
    return {
        urls: nodes.map(({ url }) => url),
        async stop() {
            await Promise.all(nodes.map((node) => node.stop()));
            rmSync(folder, { recursive: true, force: true });
        },
    };
}

/** A gateway by a settings file that logs in JSON, run in a folder; `settings` as for `--set`. */
export async function launchGateway(file: string, folder: string, settings: Record<string, string>): Promise<Running> {
    const flags = Object.entries(settings).flatMap(([key, value]) => ['--set', `${key}=${value}`]);
    const gateway = spawn(BINARY, ['run', '--config', file, ...flags], { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
    const log: string[] = [];
    const address = await new Promise<string>((resolve, reject) => {
        const late = setTimeout(() => reject(new Error(`no gateway: ${log.join('\n')}`)), START_MAX);
        gateway.on('exit', () => reject(new Error(`the gateway ended: ${log.join('\n')}`)));
        createInterface({ input: gateway.stderr }).on('line', (line) => {
            log.push(line);
            const { message, gateway } = JSON.parse(line);
            if (message !== 'listening') return;
            clearTimeout(late);
            resolve(gateway);
        });
    });
    const url = `http://${address}`;
    await until(async () => (await fetch(`${url}/readyz`)).ok, 'the gateway is ready');
    return { url, stop: () => end(gateway) };
}

/** `tokengate demo`. */
export async function startDemo(): Promise<Running & { banner: string }> {
    const demo = spawn(BINARY, ['demo', '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const lines: string[] = [];
    const reader = createInterface({ input: demo.stdout }).on('line', (line) => lines.push(line));
    await until(() => lines.some((line) => line.includes('quick-register')), 'the demo has printed its banner');
    reader.close();
    demo.stdout.resume();
    const url = /http:\/\/[\d.]+:\d+/.exec(lines.find((line) => line.includes('gateway ')) ?? '')?.[0];
    if (!url) throw new Error(lines.join('\n'));
    return { url, banner: lines.join('\n'), stop: () => end(demo) };
}

/** Waits for a condition, with the patience that a busy machine needs. */
export async function until(isTrue: () => boolean | Promise<boolean>, what: string, milliseconds = START_MAX): Promise<void> {
    const deadline = Date.now() + milliseconds;
    while (!(await isTrue())) {
        if (Date.now() > deadline) throw new Error(`not within ${milliseconds} ms: ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
}

export async function startRedis(): Promise<Running & { port: number }> {
    const port = await freePort();
    const redis = spawn(
        'redis-server',
        ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--maxmemory-policy', 'noeviction'],
        {
            stdio: 'ignore',
        },
    );
    await until(() => {
        if (redis.exitCode !== null) throw new Error('redis-server ended');
        return isOpen(port);
    }, 'Redis answers');
    return { url: `redis://127.0.0.1:${port}`, port, stop: () => end(redis) };
}

function settingsFile(upstream: string, folder: string): string {
    return `
upstreams.api.url = "${upstream}"
refresh.secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
keys.directory = "${folder}/keys"
log.format = "json"
limits.login = { per_address = "", per_account = "" }
limits.refresh = { per_address = "", per_account = "" }
admin.address = "127.0.0.1:0"

[listen]
address = "127.0.0.1:0"
workers = 1

[[routes]]
name = "pages"
prefix = "/public"
access = "public"

[[routes]]
name = "api"
prefix = "/"

[store]
kind = "redis"
`;
}

export async function end(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null) return;
    child.removeAllListeners('exit');
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    const force = setTimeout(() => child.kill('SIGKILL'), FAREWELL_MAX);
    await ended;
    clearTimeout(force);
}

export function freePort(): Promise<number> {
    return new Promise((resolve, reject) => {
        const server = createServer().on('error', reject);
        server.listen(0, '127.0.0.1', () => {
            const { port } = server.address() as { port: number };
            server.close(() => resolve(port));
        });
    });
}

export async function isOpen(port: number): Promise<boolean> {
    const { connect } = await import('node:net');
    return new Promise((resolve) => {
        const socket = connect(port, '127.0.0.1', () => {
            socket.destroy();
            resolve(true);
        }).on('error', () => resolve(false));
    });
}
