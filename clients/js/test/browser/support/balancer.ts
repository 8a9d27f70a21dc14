/** What spreads requests over the nodes of a deployment, loses responses, and keeps a record of the cookies that go by. */

import { Agent, type IncomingMessage, createServer, request as send } from 'node:http';

import type { Running } from './processes.js';
import { listening, read } from './servers.js';

/** What becomes of a response: nothing of it arrives, or its head and a part of its body do. */
export type Fate = 'arrives' | 'lost' | 'torn';

/** One request and its response, as they went by. */
export interface Passage {
    request: string;
    node: number;
    status: number;
    /** The refresh cookie that came with the request. */
    presented: string | undefined;
    /** The refresh cookie that came with the response. */
    set: string | undefined;
    fate: Fate;
}

export interface Balancer extends Running {
    readonly passages: Passage[];
    fate: () => Fate;
}

export async function startBalancer(nodes: string[]): Promise<Balancer> {
    const agent = new Agent({ keepAlive: true });
    const passages: Passage[] = [];
    const state = { passages, fate: (): Fate => 'arrives' };
    let count = 0;
    const running = await listening(
        createServer(async (request, response) => {
            const node = count++ % nodes.length;
            const body = await read(request).catch(() => undefined);
            if (!body) return;
            const onward = send(nodes[node] + request.url!, { method: request.method!, headers: request.headers, agent });
            onward.on('error', () => response.destroy());
            onward.on('response', async (answer) => {
                const fate = state.fate();
                passages.push({
                    request: `${request.method} ${request.url}`,
                    node,
                    status: answer.statusCode!,
                    presented: refreshCookie(request.headers.cookie?.split('; ')),
                    set: refreshCookie(answer.headers['set-cookie']),
                    fate,
                });
                const text = await read(answer).catch(() => undefined);
                if (fate === 'lost' || !text) return void response.destroy();
                response.writeHead(answer.statusCode!, answer.headers);
                if (fate === 'arrives') return void response.end(text);
                response.write(text.subarray(0, text.length / 2), () => response.destroy());
            });
            onward.end(body);
        }),
    );
    return Object.assign(state, running, {
        async stop() {
            agent.destroy();
            await running.stop();
        },
    });
}

function refreshCookie(fields: IncomingMessage['headers']['set-cookie']): string | undefined {
    const field = fields?.find((field) => field.startsWith('__Host-refresh='));
    return field?.split(';')[0]!.split('=')[1] || undefined;
}
