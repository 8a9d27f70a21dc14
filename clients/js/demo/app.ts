/** The demo's page: what a session does, made visible. */

import { type ClientEvent, TokengateError, createClient } from '../src/index.js';
import { showDevices } from './devices.js';
import { at } from './dom.js';
import { followEvents } from './events.js';
import { say, tell } from './log.js';

/** The gateway's tokens live 15 minutes; after this one wants to see something. */
const REFRESH_AFTER = 45;
const LIFETIME = 15 * 60;
const TICK = 250;
const DEVICES_EVERY = 10_000;

interface User {
    name?: string;
    email?: string;
}

const client = createClient({ refreshBefore: LIFETIME - REFRESH_AFTER, refreshJitter: 5, onEvent: heard });
let generation: number | undefined;
let calls = 0;
let isLeaving = false;
let wasIn = false;
let stopEvents: (() => void) | undefined;
/** Of the present countdown, in milliseconds. */
let whole = 0;

function heard(event: ClientEvent) {
    if ('generation' in event) generation = event.generation;
    const isTold = event.type !== 'signed-out' || wasIn;
    if (event.type === 'signed-in' || event.type === 'signed-out') wasIn = event.type === 'signed-in';
    if (isTold) tell(event);
    if (event.type === 'signed-out') {
        generation = undefined;
        const notice = at('notice');
        notice.textContent =
            event.source === 'other' ? 'You were logged out in another tab.' : 'This session was ended from another device.';
        notice.hidden = isLeaving || !isTold;
    }
    if (event.type === 'signed-in' || event.type === 'adopted' || event.type === 'refreshed') void devices();
}

function render() {
    const { status, user } = client.state();
    const { name, email } = (user ?? {}) as User;
    at('status').textContent = { unknown: 'one moment', 'signed-out': 'signed out', 'signed-in': 'signed in' }[status];
    at('status').dataset.is = status;
    at('door').hidden = status !== 'signed-out';
    at('room').hidden = status !== 'signed-in';
    at('user-name').textContent = name ?? email ?? 'someone';
    at('user-email').textContent = email ?? 'no email address';
    const isIn = status === 'signed-in';
    if (isIn && !stopEvents) stopEvents = followEvents(client);
    if (!isIn) {
        stopEvents?.();
        stopEvents = undefined;
    }
}

async function tick() {
    const wait = client.refreshIn();
    if (!Number.isFinite(wait)) return;
    whole = Math.max(whole, wait);
    if (wait === 0) whole = 0;
    const seconds = Math.ceil(wait / 1000);
    at('countdown').textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
    at('hand').setAttribute('stroke-dashoffset', String(whole ? 100 - (wait / whole) * 100 : 100));
    at('generation').textContent = generation === undefined ? '–' : String(generation);
    at('calls').textContent = String(calls);
    // Its signature alone: the end of it tells one token from another.
    at('token').textContent = `…${(await client.accessToken().catch(() => undefined))?.slice(-10) ?? ''}`;
}

async function devices() {
    if (client.state().status !== 'signed-in' || document.hidden) return;
    await attempt(async () => {
        const list = await client.sessions();
        calls++;
        showDevices(list, async (id) => {
            await attempt(() => client.endSession(id));
            say('good', 'Ended the session of another device');
            await devices();
        });
    });
}

/** What goes wrong is said in the log, in the words of whoever refused. */
async function attempt(work: () => Promise<unknown>) {
    try {
        await work();
    } catch (error) {
        if (client.state().status === 'signed-in') say('warn', error instanceof Error ? error.message : String(error));
    }
}

async function enter(form: HTMLFormElement) {
    const { name, email, password } = Object.fromEntries(new FormData(form)) as Record<string, string>;
    const isNew = !at('name-field').hidden;
    const [error, submit] = [at('error'), at<HTMLButtonElement>('submit')];
    error.hidden = true;
    submit.disabled = true;
    try {
        if (isNew) await client.register({ email, password, ...(name && { name }) });
        else await client.login({ email, password });
        at('notice').hidden = true;
        form.reset();
    } catch (cause) {
        error.textContent = cause instanceof TokengateError ? cause.message : 'The gateway cannot be reached.';
        error.hidden = false;
    } finally {
        submit.disabled = false;
    }
}

async function leave(scope: 'session' | 'all') {
    isLeaving = true;
    try {
        const { ended } = await client.logout(scope);
        say('end', scope === 'all' ? `Logged out everywhere: ${ended} ended` : 'Logged out here');
    } catch {
        say('warn', 'Logged out here, but the gateway did not confirm it');
    } finally {
        isLeaving = false;
    }
}

function choose(isNew: boolean) {
    at('tab-login').ariaSelected = String(!isNew);
    at('tab-register').ariaSelected = String(isNew);
    at('credentials').setAttribute('aria-labelledby', isNew ? 'tab-register' : 'tab-login');
    at('name-field').hidden = !isNew;
    at('submit').textContent = isNew ? 'Register' : 'Log in';
    field('password').autocomplete = isNew ? 'new-password' : 'current-password';
    at('error').hidden = true;
}

function field(name: string): HTMLInputElement {
    return at<HTMLFormElement>('credentials').elements.namedItem(name) as HTMLInputElement;
}

at('tab-login').onclick = () => choose(false);
at('tab-register').onclick = () => choose(true);
at('fill').onclick = () => {
    choose(false);
    field('email').value = 'ada@example.com';
    field('password').value = 'correct horse battery';
    at('submit').focus();
};
at<HTMLFormElement>('credentials').onsubmit = (event) => {
    event.preventDefault();
    void enter(event.currentTarget as HTMLFormElement);
};
at('refresh').onclick = () =>
    attempt(async () => {
        const refused = await client.accessToken();
        if (refused) await client.accessToken({ refused });
    });
at('call').onclick = () =>
    attempt(async () => {
        const response = await client.fetch('/api/me');
        if (response.ok) calls++;
        say(response.ok ? 'good' : 'warn', `GET /api/me: ${response.status} ${response.statusText}`);
    });
at('logout').onclick = () => leave('session');
at('logout-all').onclick = () => leave('all');

client.subscribe(render);
render();
setInterval(() => void tick(), TICK);
setInterval(() => void devices(), DEVICES_EVERY);
document.addEventListener('visibilitychange', () => void devices());
