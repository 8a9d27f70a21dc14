/** `clients/js` under the kit. Its build must be there: `npm run build` in `clients/js`. */

import { readFileSync, renameSync, unwatchFile, watchFile, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { createClient } from '../../js/dist/index.js';
import { serve } from './protocol.mjs';

let client;

serve({
    start({ gateway, storage, leeway }) {
        client = createClient({ baseUrl: gateway, storage: inFile(join(storage, 'session.json')), refreshTimeout: leeway / 3 });
        return { storage: 'shared' };
    },
    async login(credentials) {
        await client.login(credentials);
        return { status: 200 };
    },
    async request({ path, method, body }) {
        const init = body ? { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) } : { method };
        const response = await client.fetch(path, init);
        await response.body?.cancel();
        return { status: response.status };
    },
    async logout() {
        await client.logout();
        return {};
    },
    state: () => ({ state: client.state().status }),
});

/** One session for all processes that know the file. */
function inFile(path) {
    const read = () => {
        try {
            return JSON.parse(readFileSync(path, 'utf8'));
        } catch {
            return undefined;
        }
    };
    return {
        sharedAs: path,
        read,
        write(entry) {
            // Whoever reads meanwhile gets the former whole or the new one.
            writeFileSync(`${path}.${process.pid}`, JSON.stringify(entry), { mode: 0o600 });
            renameSync(`${path}.${process.pid}`, path);
        },
        watch(listener) {
            const changed = () => listener(read());
            watchFile(path, { interval: 100, persistent: false }, changed);
            return () => unwatchFile(path, changed);
        },
    };
}
