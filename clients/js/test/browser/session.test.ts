/** The client in Chromium, before the real gateway with its real store. */

import { createHash } from 'node:crypto';

import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';

import { until } from './support/processes.js';
import { ADA, HASTY, Rig, call, events, spoilAccessToken, status } from './support/rig.js';

let rig: Rig;

beforeAll(async () => {
    rig = await Rig.start(() => ({ 'tokens.lifetime': '1m', 'refresh.leeway': '6s' }));
});
afterAll(async () => {
    await rig?.stop();
});
beforeEach(async () => {
    await rig.clear();
    return () => expect(rig.errors).toEqual([]);
});

test('login signs in, a call goes through, and a reload stays signed in', async () => {
    const page = await rig.signedIn();
    const user = { id: ADA.email, name: 'ada' };
    expect(await page.evaluate(() => window.client.state())).toEqual({ status: 'signed-in', user });
    expect(await page.evaluate(() => window.client.fetch('/api/x').then((answer) => answer.json()))).toMatchObject({
        subject: ADA.email,
    });
    await page.reload();
    await page.evaluate(() => window.connect());
    expect(await page.evaluate(() => window.client.state())).toEqual({ status: 'signed-in', user });
    expect(await call(page)).toBe(200);
});

test('a wrong password is refused and signs nobody in', async () => {
    const page = await rig.tab(await rig.context());
    const refused = page.evaluate(
        (credentials) => window.client.login(credentials).catch((error) => [error.code, error.status]),
        {
            ...ADA,
            password: 'wrong',
        },
    );
    expect(await refused).toEqual(['refused', 401]);
    expect(await status(page)).toBe('signed-out');
});

test('tokens are refreshed before their end, without any request of the page', async () => {
    const page = await rig.signedIn(HASTY);
    const first = await page.evaluate(() => window.client.accessToken());
    await until(() => rig.proxy.refreshes.length >= 2, 'two refreshes');
    expect(rig.proxy.refreshes.every(({ status }) => status === 200)).toBe(true);
    expect(await page.evaluate(() => window.client.accessToken())).not.toBe(first);
    expect(await call(page)).toBe(200);
    // The first token has not been refused by anyone: nothing was late.
    expect(await events(page, 'retrying')).toBe(0);
});

test('twenty requests that are refused at once share one refresh, and all succeed', async () => {
    const page = await rig.signedIn();
    await spoilAccessToken(page);
    const calls = () =>
        Promise.all(Array.from({ length: 20 }, (_, i) => window.client.fetch(`/api/${i}`).then(({ status }) => status)));
    expect(await page.evaluate(calls)).toEqual(Array(20).fill(200));
    expect(rig.proxy.refreshes.length).toBe(1);
    expect(await events(page, 'retrying')).toBe(20);
});

test('an upload that is refused is sent again, byte for byte', async () => {
    const page = await rig.signedIn();
    await spoilAccessToken(page);
    const answer = await page.evaluate(async () => {
        const bytes = Uint8Array.from({ length: 1_000_000 }, (_, i) => (i * 7) % 251);
        const form = new FormData();
        form.set('title', 'a difference engine');
        form.set('file', new File([bytes], 'engine.bin'));
        const [whole, part] = await Promise.all([
            window.client.fetch('/api/upload', { method: 'POST', body: form }),
            window.client.fetch(new Request('/api/raw', { method: 'PUT', body: bytes })),
        ]);
        return { whole: await whole.json(), part: await part.json() };
    });
    expect(answer.whole.bytes).toBeGreaterThan(1_000_000);
    expect(answer.whole.type).toMatch(/^multipart\/form-data; boundary=/);
    const bytes = Uint8Array.from({ length: 1_000_000 }, (_, i) => (i * 7) % 251);
    expect(answer.part.digest).toBe(createHash('sha256').update(bytes).digest('hex'));
    expect(rig.proxy.requests.filter((line) => line === 'POST /api/upload').length).toBe(2);
    expect(rig.proxy.refreshes.length).toBe(1);
});

test('a page that was frozen for longer than the leeway wakes up signed in', async () => {
    const context = await rig.context();
    const [awake, asleep] = [await rig.signedIn(HASTY, context), await rig.tab(context, HASTY)];
    const session = await context.newCDPSession(asleep);
    await session.send('Page.setWebLifecycleState', { state: 'frozen' });
    const before = rig.proxy.refreshes.length;
    await until(() => rig.proxy.refreshes.length >= before + 4, 'the other tab has moved on four times');
    expect(await call(awake)).toBe(200);
    await session.send('Page.setWebLifecycleState', { state: 'active' });
    expect(await call(asleep)).toBe(200);
    expect([await status(awake), await status(asleep)]).toEqual(['signed-in', 'signed-in']);
    expect(rig.proxy.refreshes.every(({ status }) => status === 200)).toBe(true);
});

test.each(['visibilitychange', 'pageshow', 'online', 'resume'])('%s lets the client look at the time again', async (type) => {
    const page = await rig.signedIn({ refreshBefore: 30, refreshJitter: 0 });
    await page.evaluate((type) => {
        // The timer is asleep for some twenty seconds more.
        const now = performance.now.bind(performance);
        performance.now = () => now() + 45_000;
        const target = type === 'visibilitychange' || type === 'resume' ? document : window;
        target.dispatchEvent(new Event(type, { bubbles: type === 'visibilitychange' }));
    }, type);
    await until(() => rig.proxy.refreshes.length === 1, 'a refresh', 15_000);
    expect(await call(page)).toBe(200);
});

test('a page that slept alone past the end of its token refreshes when it wakes', async () => {
    const context = await rig.context();
    const page = await rig.signedIn({ refreshBefore: 30 }, context);
    // Long ago, as the next load sees it.
    await page.evaluate(() => {
        window.client.dispose();
        const entry = JSON.parse(localStorage.getItem('tokengate')!);
        entry.session.receivedAt -= 3_600_000;
        localStorage.setItem('tokengate', JSON.stringify(entry));
    });
    await page.reload();
    await page.evaluate(() => window.connect());
    expect(await call(page)).toBe(200);
    expect(rig.proxy.refreshes.length).toBe(1);
});

test('offline, nobody is signed out; back online, it goes on', async () => {
    const context = await rig.context();
    const page = await rig.signedIn(HASTY, context);
    await context.setOffline(true);
    await page.waitForFunction(() => window.events.filter(({ type }) => type === 'postponed').length >= 2);
    expect(await status(page)).toBe('signed-in');
    expect(await call(page)).toBe('TypeError');
    const before = await events(page, 'refreshed');
    await context.setOffline(false);
    await page.waitForFunction((before) => window.events.filter(({ type }) => type === 'refreshed').length > before, before);
    expect(await call(page)).toBe(200);
});

test('a logout in one tab is seen by the others, and refused by the gateway from that instant', async () => {
    const context = await rig.context();
    const pages = [await rig.signedIn({}, context), await rig.tab(context), await rig.tab(context)] as const;
    const [first, second, third] = pages;
    await Promise.all(pages.map((page) => page.waitForFunction(() => window.client.state().status === 'signed-in')));
    const token = (await first.evaluate(() => window.client.accessToken()))!;
    const raw = () => fetch(`${rig.gateway.url}/api/x`, { headers: { authorization: `Bearer ${token}` } });
    expect((await raw()).status).toBe(200);
    expect(await second.evaluate(() => window.client.logout())).toEqual({ ended: 1 });
    const refused = await raw();
    expect([refused.status, ((await refused.json()) as { code: string }).code]).toEqual([401, 'token_revoked']);
    await Promise.all([first, third].map((page) => page.waitForFunction(() => window.client.state().status === 'signed-out')));
    expect(await first.evaluate(() => localStorage.getItem('tokengate'))).not.toContain('oken"');
});

test('logout of all devices ends the others; logout of the others leaves this one', async () => {
    const [a, b, c] = await Promise.all([rig.signedIn(), rig.signedIn(), rig.signedIn()]);
    expect(await a.evaluate(() => window.client.logout('others'))).toMatchObject({ ended: expect.any(Number) });
    expect([await call(a), await call(b), await call(c)]).toEqual([200, 401, 401]);
    const d = await rig.signedIn();
    await a.evaluate(() => window.client.logout('all'));
    expect(await call(d)).toBe(401);
    expect([await status(a), await status(b), await status(d)]).toEqual(['signed-out', 'signed-out', 'signed-out']);
});

test('a session that another device ends is over at its next call', async () => {
    const [here, there] = [await rig.signedIn(), await rig.signedIn()];
    const id = await here.evaluate(async () => {
        const devices = await window.client.sessions();
        return devices.filter(({ current }) => !current).sort((a, b) => b.createdAt.localeCompare(a.createdAt))[0]!.id;
    });
    await here.evaluate((id) => window.client.endSession(id), id);
    expect(await call(there)).toBe(401);
    expect(await status(there)).toBe('signed-out');
    expect([await call(here), await status(here)]).toEqual([200, 'signed-in']);
});

test('a store that is away for a moment costs no session', async () => {
    const page = await rig.signedIn(HASTY);
    let left = 3;
    rig.proxy.fault = () => (left-- > 0 ? { does: 'answer-503' } : {});
    await until(() => rig.proxy.refreshes.length >= 1, 'a refresh after three refusals');
    expect([await status(page), await call(page)]).toEqual(['signed-in', 200]);
    expect(await events(page, 'postponed')).toBeGreaterThanOrEqual(3);
});

test('a reply that is lost on its way costs no session', async () => {
    const page = await rig.signedIn(HASTY);
    let left = 2;
    rig.proxy.fault = () => (left-- > 0 ? { does: 'lose-reply' } : {});
    await until(() => rig.proxy.refreshes.length >= 3, 'three refreshes');
    expect([await status(page), await call(page)]).toEqual(['signed-in', 200]);
    expect(new Set(rig.proxy.refreshes.slice(0, 3).map(({ refreshToken }) => refreshToken)).size).toBe(1);
});

test('in memory, nothing of the session is left anywhere', async () => {
    const page = await rig.signedIn({ storage: 'memory' });
    expect(await call(page)).toBe(200);
    expect(await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie])).toEqual([0, 0, '']);
});

test('StrictMode and hydration: one user, no warning, no session of its own', async () => {
    const context = await rig.context();
    const page = await context.newPage();
    const complaints: string[] = [];
    page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(String(error)));
    await page.goto('/public/react.tsx');
    await page.getByText('signed-out').waitFor();
    expect(await page.evaluate(() => (window as unknown as { hydratedFrom: string }).hydratedFrom)).toBe('<p>unknown</p>');
    await page.getByRole('button', { name: 'log in' }).click();
    await page.getByText('signed-in ada').waitFor();
    await page.getByRole('button', { name: 'remount' }).click();
    await page.getByText('signed-in ada').waitFor();
    expect(rig.proxy.requests.filter((line) => line === 'POST /login').length).toBe(1);
    // A second tab signs out this one.
    const other = await rig.tab(context);
    await other.evaluate(() => window.client.logout());
    await page.getByText('signed-out').waitFor();
    expect(complaints).toEqual([]);
});

test('two clients on one page, as hot reload leaves them, are like two tabs', async () => {
    const page = await rig.signedIn(HASTY);
    await page.evaluate((options) => {
        const first = window.client;
        window.connect(options);
        Object.assign(window, { first });
    }, HASTY);
    await until(() => rig.proxy.refreshes.length >= 2, 'two refreshes');
    expect(rig.proxy.refreshes.every(({ status }) => status === 200)).toBe(true);
    await page.evaluate(() => (window as unknown as { first: typeof window.client }).first.dispose());
    expect(await call(page)).toBe(200);
});

test('the header function of the README serves any HTTP client', async () => {
    const page = await rig.signedIn();
    await page.goto('/public/readme_headers.ts');
    const answer = await page.evaluate(() => (window as unknown as { run(): Promise<unknown> }).run());
    expect(answer).toMatchObject({ subject: ADA.email });
});

test('the axios interceptor of the README refreshes once and repeats refused requests', async () => {
    const page = await rig.signedIn();
    await spoilAccessToken(page);
    await page.goto('/public/readme_axios.ts');
    const answers = await page.evaluate(() => (window as unknown as { run(count: number): Promise<unknown[]> }).run(20));
    expect(answers).toEqual(Array(20).fill([200, ADA.email]));
    expect(rig.proxy.refreshes.length).toBe(1);
});
