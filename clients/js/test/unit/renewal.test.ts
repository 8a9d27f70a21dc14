import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { renewing, type RenewalAnswer } from '../../src/renewal.js';

/** A socket of which the test is the other side. */
class Socket extends EventTarget {
    readyState = 0;
    readonly sent: string[] = [];

    send(message: string) {
        this.sent.push(message);
    }

    open() {
        this.readyState = 1;
        this.dispatchEvent(new Event('open'));
    }

    hear(data: unknown) {
        this.dispatchEvent(new MessageEvent('message', { data }));
    }

    close() {
        this.readyState = 3;
        this.dispatchEvent(new Event('close'));
    }
}

function started({ readyState = 0, answers = [] as RenewalAnswer[], prefix = undefined as string | undefined } = {}) {
    const client = {
        token: 'one' as string | undefined,
        accessToken: vi.fn(async () => client.token),
        refreshIn: vi.fn(() => 600_000),
    };
    const socket = Object.assign(new Socket(), { readyState });
    const options = {
        onAnswer: (answer: RenewalAnswer) => void answers.push(answer),
        ...(prefix === undefined ? {} : { prefix }),
    };
    renewing(client, socket as unknown as WebSocket, options);
    return { client, socket, answers };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('each token is sent once, and none before the socket is open', async () => {
    const { client, socket } = started();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(socket.sent).toEqual([]);
    socket.open();
    await vi.advanceTimersByTimeAsync(120_000);
    expect(socket.sent).toEqual(['tokengate:one']);
    client.token = 'two';
    await vi.advanceTimersByTimeAsync(30_000);
    expect(socket.sent).toEqual(['tokengate:one', 'tokengate:two']);
});

test('a token that is due is looked for when it is, and not again and again', async () => {
    const { client } = started({ readyState: 1, prefix: 'gate:' });
    await vi.advanceTimersByTimeAsync(0);
    client.refreshIn.mockReturnValue(0);
    await vi.advanceTimersByTimeAsync(30_000);
    const before = client.accessToken.mock.calls.length;
    await vi.advanceTimersByTimeAsync(10_000);
    expect(client.accessToken.mock.calls.length - before).toBe(10);
});

test('answers are told, and the application hears its own messages alone', async () => {
    const { client, socket, answers } = started({ readyState: 1 });
    client.token = 'e30.e30.signature-one';
    await vi.advanceTimersByTimeAsync(30_000);
    client.token = 'e30.e30.signature-two';
    await vi.advanceTimersByTimeAsync(30_000);
    const heard: unknown[] = [];
    socket.addEventListener('message', (event) => heard.push((event as MessageEvent).data));
    socket.hear('tokengate:{"renewed_until":1767225600,"token_end":"ture-one"}');
    socket.hear('tokengate:{"error":"session_differs","token_end":"ture-two"}');
    const own = ['{"renewed_until":1,"token_end":"ture-two"}', 'a tokengate:{}', new ArrayBuffer(1)];
    for (const data of own) socket.hear(data);
    expect(answers).toEqual([{ renewedUntil: new Date('2026-01-01T00:00:00Z') }, { error: 'session_differs' }]);
    expect(heard).toEqual(own);
});

test('what others wrote to look like an answer is for the application to judge, and harms nothing', async () => {
    const { client, socket, answers } = started({ readyState: 1 });
    client.token = 'e30.e30.signature-one';
    await vi.advanceTimersByTimeAsync(30_000);
    const heard: unknown[] = [];
    socket.addEventListener('message', (event) => heard.push((event as MessageEvent).data));
    const forged = [
        'tokengate:hi',
        'tokengate:',
        'tokengate:null',
        'tokengate:5',
        'tokengate:{"error":"session_differs"}',
        'tokengate:{"error":"session_differs","token_end":"guessed!"}',
        'tokengate:{"error":"session_differs","token_end":["ture-one"]}',
        'tokengate:{"renewed_until":1767225600,"token_end":""}',
    ];
    for (const data of forged) socket.hear(data);
    expect(heard).toEqual(forged);
    expect(answers).toEqual([]);
});

test('whoever has no token, or cannot be reached, is asked again', async () => {
    const { client, socket } = started();
    client.token = undefined;
    socket.open();
    await vi.advanceTimersByTimeAsync(30_000);
    client.accessToken.mockRejectedValueOnce(new Error('offline'));
    await vi.advanceTimersByTimeAsync(30_000);
    expect(socket.sent).toEqual([]);
    client.token = 'later';
    await vi.advanceTimersByTimeAsync(30_000);
    expect(socket.sent).toEqual(['tokengate:later']);
});

test('nothing is done for a socket that has closed, also while a token was awaited', async () => {
    const { client, socket } = started({ readyState: 1 });
    socket.close();
    await vi.advanceTimersByTimeAsync(120_000);
    expect(socket.sent).toEqual([]);
    expect(client.accessToken).toHaveBeenCalledTimes(1);
    expect(vi.getTimerCount()).toBe(0);
});
