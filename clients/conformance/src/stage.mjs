/** What a scenario has to play with: a gateway, clients under test, and the rules that they are judged by. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Client, ProtocolFault } from './client.mjs';
import { Gateway, LEEWAY, USER } from './gateway.mjs';
import { RULES } from './rules.mjs';

/** The client broke a rule. */
export class Breach extends Error {
    constructor(rule, message) {
        if (!(rule in RULES)) throw new Error(`no such rule: ${rule}`);
        super(message);
        this.rule = rule;
    }
}

/** The scenario needs something that the client does not have. */
export class NotApplicable extends Error {}

/** How long a client may take to notice what another process did. */
const NOTICE_MILLISECONDS_MAX = 3000;
const PAUSE = 250;

export class Stage {
    #command;
    #clients = [];
    #folder = mkdtempSync(join(tmpdir(), 'tokengate-conformance-'));

    constructor(command, gateway) {
        this.#command = command;
        this.gateway = gateway;
    }

    static async with(command, settings, play) {
        const gateway = await new Gateway(settings).start();
        const stage = new Stage(command, gateway);
        try {
            await play(stage);
        } finally {
            await stage.#end();
        }
    }

    /** A client process; all of a scenario share one storage. */
    async client() {
        const client = new Client(this.#command);
        this.#clients.push(client);
        const { error, storage } = await client.start({ gateway: this.gateway.url, storage: this.#folder, leeway: LEEWAY });
        if (error !== undefined) throw new ProtocolFault(`"start" failed: ${error}`);
        client.isShared = storage === 'shared';
        return client;
    }

    /** One that is logged in. */
    async loggedIn() {
        const client = await this.client();
        await this.login(client);
        return client;
    }

    /** Another process with the storage of the first. */
    async sibling(client) {
        if (!client.isShared) throw new NotApplicable('keeps nothing that another process can read');
        return this.client();
    }

    async login(client, user = USER) {
        const { status, error } = await client.login(user);
        if (status !== 200) throw new ProtocolFault(`"login" gave ${status ?? error}, and should give 200`);
    }

    /** Fails the scenario by a rule unless `holds`. */
    judge(rule, holds, message) {
        if (!holds) throw new Breach(rule, message);
    }

    async isSignedIn(client, rule, when) {
        const state = await client.state();
        const isReused = this.gateway.sessions.all().some(({ endedBy }) => endedBy === 'reuse');
        const truth = isReused ? 'a token that was replaced was sent, which ended the session' : 'the session lives';
        this.judge(rule, state === 'signed-in', `${when}, the client's state is "${state}", and ${truth}`);
    }

    async becomesSignedOut(client, rule, when) {
        const deadline = performance.now() + NOTICE_MILLISECONDS_MAX;
        let state;
        while ((state = await client.state()) !== 'signed-out') {
            this.judge(rule, performance.now() < deadline, `${when}, the client's state is "${state}", and the session is over`);
            await pause(PAUSE);
        }
    }

    /** The application asks again until it gets what it wants, as its users do; without a login in between. */
    async succeeds(client, rule, when, seconds = 12) {
        const deadline = performance.now() + seconds * 1000;
        for (;;) {
            const { status, error } = await client.request('/api/orders');
            if (status === 200) return;
            await this.isSignedIn(client, rule, when);
            this.judge(
                rule,
                performance.now() < deadline,
                `${when}, requests still end with ${status ?? error} after ${seconds} s`,
            );
            await pause(PAUSE);
        }
    }

    /** A client with a refresh under way, whose response waits for `release`. */
    async refreshing() {
        const client = await this.loggedIn();
        this.gateway.sessions.expireAccessTokens();
        let release;
        const held = new Promise((resolve) => (release = resolve));
        this.gateway.fault('/refresh', (call) => heldBack(call.carryOut(), held), 1);
        client.request('/api/orders').catch(() => undefined);
        while (!this.gateway.refreshes().length) await pause(10);
        return { client, release };
    }

    async #end() {
        await Promise.all(this.#clients.map((client) => client.stop()));
        await this.gateway.stop();
        rmSync(this.#folder, { recursive: true, force: true });
    }
}

/** A response that is made now, and sent when `until` is settled. */
export async function heldBack(response, until) {
    await until;
    return response;
}

export function pause(milliseconds) {
    return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

export function refreshTokenOf(call) {
    if (call.contentType.startsWith('application/x-www-form-urlencoded'))
        return new URLSearchParams(call.body).get('refresh_token');
    return JSON.parse(call.body).refreshToken;
}
