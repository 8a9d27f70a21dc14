/** What stands behind the gateway, and what stands in front of it to do harm. */

import { createHash } from 'node:crypto';
import { type IncomingMessage, type Server, type ServerResponse, createServer, request as send } from 'node:http';

import { build } from 'esbuild';

import type { Running } from './processes.js';

/** Everyone's. */
export const PASSWORD = 'correct horse';

/** An API that knows nothing of tokens, and the pages of the tests below `/public`. It takes its time where `hold` asks for that (ms). */
export async function startApi(): Promise<Running> {
    const pages = new Map<string, string>();
    return listening(
        createServer(async (request, response) => {
            const { pathname, searchParams } = new URL(request.url!, 'http://api');
            const body = await read(request);
            await pause(Number(searchParams.get('hold') ?? 0));
            const json = (status: number, value: unknown) => {
                response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
            };
            const [, kind, name] = pathname.split('/');
            if (kind === 'public' && /^\w+\.tsx?\.js$/.test(name ?? '')) {
                if (!pages.has(name!)) pages.set(name!, await bundle(name!));
                response.writeHead(200, { 'content-type': 'text/javascript' }).end(pages.get(name!));
            } else if (kind === 'public') {
                const script = `<script type="module" src="/public/${name}.js"></script>`;
                response
                    .writeHead(200, { 'content-type': 'text/html' })
                    .end(`<!doctype html><title>${name}</title><link rel="icon" href="data:,"><div id="root"></div>${script}`);
            } else if (kind === 'login') {
                const { email, password } = JSON.parse(String(body));
                if (password === PASSWORD) json(200, { user: { id: email, name: email.split('@')[0] } });
                else json(401, { error: 'wrong password' });
            } else if (kind === 'page') {
                const text = `<!doctype html><title>${name}</title><link rel="icon" href="data:,"><p>${request.headers['x-auth-subject']}</p><hr>`;
                response.writeHead(200, { 'content-type': 'text/html', 'cache-control': 'no-store' }).end(text);
            } else {
                const subject = request.headers['x-auth-subject'];
                json(200, {
                    subject,
                    path: pathname,
                    bytes: body.length,
                    digest: createHash('sha256').update(body).digest('hex'),
                    type: request.headers['content-type'],
                });
            }
        }),
    );
}

/** What happens to one call of `/refresh`. Delays in milliseconds. */
export interface Fault {
    there?: number;
    back?: number;
    does?: 'lose-request' | 'lose-reply' | 'answer-503';
}

/** One call of `/refresh`, as it went by. */
export interface Refresh {
    at: number;
    presented: string | undefined;
    status: number | undefined;
    generation?: number;
    refreshToken?: string;
}

export interface FaultProxy extends Running {
    readonly refreshes: Refresh[];
    /** Every request, by method and path. */
    readonly requests: string[];
    /** And every answer: the same, with its status. */
    readonly answers: string[];
    fault: () => Fault;
}

/** Passes everything on to the gateway, and `/refresh` with faults. */
export async function startFaultProxy(gateway: string): Promise<FaultProxy> {
    const refreshes: Refresh[] = [];
    const requests: string[] = [];
    const answers: string[] = [];
    const proxy = { refreshes, requests, answers, fault: (): Fault => ({}) };
    const running = await listening(
        createServer(async (request, response) => {
            requests.push(`${request.method} ${request.url}`);
            response.on('finish', () => answers.push(`${request.method} ${request.url} ${response.statusCode}`));
            const body = await read(request);
            if (request.url !== '/refresh' || request.method !== 'POST') return void forward(gateway, request, body, response);

            const { there = 0, back = 0, does } = proxy.fault();
            const presented = (JSON.parse(String(body) || '{}') as { refreshToken?: string }).refreshToken;
            await pause(there);
            const seen: Refresh = { at: Date.now(), presented, status: undefined };
            if (does === 'lose-request') return void request.socket.destroy();
            if (does === 'answer-503') return void response.writeHead(503, { 'retry-after': '1' }).end();
            const [answer, text] = await collect(gateway, request, body);
            refreshes.push(seen);
            seen.status = answer.statusCode;
            if (answer.statusCode === 200) {
                const { generation, refreshToken } = JSON.parse(String(text));
                Object.assign(seen, { generation, refreshToken });
            }
            await pause(back);
            if (does === 'lose-reply') return void request.socket.destroy();
            response.writeHead(answer.statusCode!, answer.headers).end(text);
        }),
    );
    return Object.assign(proxy, running);
}

async function bundle(name: string): Promise<string> {
    const { outputFiles } = await build({
        entryPoints: [`${import.meta.dirname}/../pages/${name.replace(/\.js$/, '')}`],
        bundle: true,
        format: 'esm',
        jsx: 'automatic',
        write: false,
        alias: {
            'tokengate-client': `${import.meta.dirname}/../../../src/index.ts`,
            'tokengate-client/react': `${import.meta.dirname}/../../../src/react.ts`,
        },
        // The README's examples speak of a gateway that is not here.
        plugins: [
            {
                name: 'here',
                setup: ({ onLoad }) =>
                    onLoad({ filter: /examples\/\w+\.js$/ }, async ({ path }) => {
                        const { readFile } = await import('node:fs/promises');
                        return {
                            contents: (await readFile(path, 'utf8')).replaceAll(`'https://api.example.com'`, 'location.origin'),
                        };
                    }),
            },
        ],
    });
    return outputFiles[0]!.text;
}

function forward(gateway: string, request: IncomingMessage, body: Buffer, response: ServerResponse) {
    const onward = send(gateway + request.url, { method: request.method!, headers: request.headers }, (answer) => {
        response.writeHead(answer.statusCode!, answer.headers);
        answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    response.on('close', () => onward.destroy());
    onward.end(body);
}

function collect(gateway: string, request: IncomingMessage, body: Buffer): Promise<[IncomingMessage, Buffer]> {
    return new Promise((resolve, reject) => {
        send(gateway + request.url, { method: request.method!, headers: request.headers }, (answer) => {
            read(answer).then((text) => resolve([answer, text]), reject);
        })
            .on('error', reject)
            .end(body);
    });
}

export async function read(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
    const parts: Uint8Array[] = [];
    for await (const part of stream) parts.push(part);
    return Buffer.concat(parts);
}

export function pause(milliseconds: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

export async function listening(server: Server): Promise<Running> {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    return {
        url: `http://127.0.0.1:${port}`,
        async stop() {
            server.closeAllConnections();
            await new Promise((resolve) => server.close(resolve));
        },
    };
}
