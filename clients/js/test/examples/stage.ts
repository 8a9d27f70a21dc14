/** Front ends in `examples/`, as they are built, and the API and the gateway that they have. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { type Running, end, freePort, isOpen, launchGateway, until } from '../browser/support/processes.js';

const EXAMPLES = join(import.meta.dirname, '../../../../examples');

/** The API of `examples/django`. */
export interface Api extends Running {
    promote(email: string): void;
}

export async function startApi(): Promise<Api> {
    const [folder, port] = [mkdtempSync(join(tmpdir(), 'notes-api-')), await freePort()];
    const source = join(EXAMPLES, 'django');
    const python = join(source, 'venv/bin/python');
    if (!existsSync(python)) throw new Error(`${python} is not there: make the environment, as tests/run does`);
    const env = {
        SECRET_KEY: "a key of the application's own",
        DATABASE: join(folder, 'db.sqlite3'),
        PYTHONDONTWRITEBYTECODE: '1',
    };
    const manage = (...what: string[]) => execFileSync(python, ['manage.py', ...what], { cwd: source, env, stdio: 'inherit' });
    manage('migrate', '--verbosity', '0');
    const server = spawn(python, ['-m', 'waitress', `--listen=127.0.0.1:${port}`, 'project.wsgi:application'], {
        cwd: source,
        env,
        stdio: ['ignore', 'ignore', 'inherit'],
    });
    await listens(server, port);
    return {
        url: `http://127.0.0.1:${port}`,
        promote: (email) => void manage('promote', email),
        async stop() {
            await end(server);
            rmSync(folder, { recursive: true, force: true });
        },
    };
}

/** A gateway by the settings of an example; what else it is told is where others are. */
export async function startGateway(example: string, settings: Record<string, string>): Promise<Running> {
    const folder = mkdtempSync(join(tmpdir(), 'notes-gateway-'));
    const gateway = await launchGateway(join(EXAMPLES, example, 'tokengate.toml'), folder, {
        'admin.address': '127.0.0.1:0',
        'log.format': 'json',
        'store.kind': 'memory',
        'listen.address': '127.0.0.1:0',
        ...settings,
    });
    return {
        url: gateway.url,
        async stop() {
            await gateway.stop();
            rmSync(folder, { recursive: true, force: true });
        },
    };
}

/** The pages of an example, built for production, at a port that is known beforehand. */
export async function startPages(example: string, port: number, env: Record<string, string> = {}): Promise<Running> {
    const [source, folder] = [join(EXAMPLES, example), mkdtempSync(join(tmpdir(), 'notes-pages-'))];
    const vite = join(source, 'node_modules/vite/bin/vite.js');
    if (!existsSync(vite)) throw new Error(`${vite} is not there: npm ci, as tests/run does`);
    const options = { cwd: source, env: { ...process.env, NODE_ENV: 'production', ...env } };
    execFileSync('node', [vite, 'build', '--logLevel', 'warn', '--emptyOutDir', '--outDir', folder], {
        ...options,
        stdio: 'inherit',
    });
    const server = spawn('node', [vite, 'preview', '--strictPort', '--port', String(port), '--outDir', folder], {
        ...options,
        stdio: ['ignore', 'ignore', 'inherit'],
    });
    await listens(server, port);
    return {
        url: `http://127.0.0.1:${port}`,
        async stop() {
            await end(server);
            rmSync(folder, { recursive: true, force: true });
        },
    };
}

/** Pages that a server of Next.js renders, as `npm run build` has built them. */
export async function startNext(example: string, env: Record<string, string>): Promise<Running> {
    const [source, port] = [join(EXAMPLES, example), await freePort()];
    if (!existsSync(join(source, '.next/BUILD_ID')))
        throw new Error(`${source} is not built: npm ci and npm run build, as tests/run does`);
    const server = spawn(
        'node',
        ['node_modules/next/dist/bin/next', 'start', '--hostname', '127.0.0.1', '--port', String(port)],
        {
            cwd: source,
            env: { ...process.env, NODE_ENV: 'production', NEXT_TELEMETRY_DISABLED: '1', ...env },
            stdio: ['ignore', 'ignore', 'inherit'],
        },
    );
    await listens(server, port);
    return { url: `http://127.0.0.1:${port}`, stop: () => end(server) };
}

function listens(server: ChildProcess, port: number): Promise<void> {
    return until(() => {
        if (server.exitCode !== null) throw new Error('the server ended; its own words are above');
        return isOpen(port);
    }, `a server listens on port ${port}`);
}
