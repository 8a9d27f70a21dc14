/** A proxy before a Redis that loses replies. */

import { type Socket, connect, createServer } from 'node:net';

import type { Running } from './processes.js';

/** The connection ends before the reply, in the midst of it, or nothing comes any more, and nobody is told. */
const LOSSES = ['broken', 'torn', 'swallowed'] as const;

export interface RedisFaults extends Running {
    /** The reply to every so many scripts is lost, in each way in turn. 0: none is. */
    losesOneIn: number;
    /** Replies that were lost so far. */
    losses: number;
    /** Whether connections are refused. Those that are there are cut. */
    isAway: boolean;
    cut(): void;
}

export async function startRedisFaults(port: number): Promise<RedisFaults> {
    const open = new Set<Socket>();
    let scripts = 0;
    const faults: Omit<RedisFaults, keyof Running> = {
        losesOneIn: 0,
        losses: 0,
        isAway: false,
        cut: () => open.forEach((socket) => socket.destroy()),
    };
    const server = createServer({ noDelay: true }, (client) => {
        if (faults.isAway) return void client.resetAndDestroy();
        const redis = connect({ port, host: '127.0.0.1', noDelay: true });
        /** Of the reply that comes next. */
        let owed: (typeof LOSSES)[number] | undefined;
        let isSilent = false;
        for (const [one, other] of [
            [client, redis],
            [redis, client],
        ] as const) {
            open.add(one);
            one.on('error', () => {});
            one.on('close', () => {
                open.delete(one);
                other.destroy();
            });
        }
        client.on('data', (bytes) => {
            if (isSilent) return;
            const isLost = bytes.includes('EVALSHA') && ++scripts % faults.losesOneIn === 0;
            if (isLost) owed = LOSSES[faults.losses++ % LOSSES.length];
            redis.write(bytes);
        });
        redis.on('data', (bytes) => {
            if (isSilent) return;
            if (!owed) return void client.write(bytes);
            isSilent = true;
            if (owed === 'torn') client.end(bytes.subarray(0, bytes.length / 2));
            else if (owed === 'broken') client.destroy();
        });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port: own } = server.address() as { port: number };
    return Object.assign(faults, {
        url: `redis://127.0.0.1:${own}`,
        async stop() {
            faults.cut();
            await new Promise((resolve) => server.close(resolve));
        },
    });
}
