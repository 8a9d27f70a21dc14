/** The client under test: a process that takes commands as lines of JSON, and responds in the same way. */

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** A command must be over by then, whatever the gateway does. */
const COMMAND_SECONDS_MAX = 30;
const FAREWELL_MILLISECONDS_MAX = 1000;

/** The client does not speak the protocol, or does not respond. */
export class ProtocolFault extends Error {}

export class Client {
    #process;
    #pending = new Map();
    #last = 0;
    #stderr = '';

    constructor([command, ...args], environment) {
        this.#process = spawn(command, args, {
            stdio: ['pipe', 'pipe', 'pipe'],
            env: { ...process.env, ...environment },
        });
        createInterface({ input: this.#process.stdout }).on('line', (line) => this.#take(line));
        this.#process.stderr.setEncoding('utf8').on('data', (text) => (this.#stderr = (this.#stderr + text).slice(-4000)));
        this.#process.stdin.on('error', () => undefined);
        this.#process.on('error', (error) => this.#fail(`cannot be started: ${error.message}`));
        this.#process.on('exit', (code, signal) => this.#fail(`ended (${signal ?? code})`));
    }

    /** The result of a command; with a member `error` where the client says that it failed. */
    call(command, parameters = {}) {
        const id = ++this.#last;
        return new Promise((resolve, reject) => {
            const late = setTimeout(
                () => reject(new ProtocolFault(`"${command}" was not over within ${COMMAND_SECONDS_MAX} s`)),
                COMMAND_SECONDS_MAX * 1000,
            );
            this.#pending.set(id, {
                resolve: (response) => (clearTimeout(late), resolve(response)),
                reject: (error) => (clearTimeout(late), reject(error)),
            });
            if (this.#process.exitCode !== null || this.#process.signalCode !== null) this.#fail('is not running');
            else this.#process.stdin.write(`${JSON.stringify({ id, do: command, ...parameters })}\n`);
        });
    }

    start = (parameters) => this.call('start', parameters);
    login = (credentials) => this.call('login', credentials);
    logout = () => this.call('logout');
    request = (path, method = 'GET', body = undefined) => this.call('request', { method, path, ...(body && { body }) });
    state = async () => (await this.call('state')).state;

    kill() {
        this.#process.kill('SIGKILL');
    }

    async stop() {
        if (this.#process.exitCode !== null || this.#process.signalCode !== null || !this.#process.pid) return;
        const ended = new Promise((resolve) => this.#process.once('exit', resolve));
        this.#process.stdin.end();
        const late = setTimeout(() => this.kill(), FAREWELL_MILLISECONDS_MAX);
        await ended;
        clearTimeout(late);
    }

    #take(line) {
        let response;
        try {
            response = JSON.parse(line);
        } catch {
            return this.#fail(`wrote a line that is not JSON: ${line.slice(0, 200)}`);
        }
        const pending = this.#pending.get(response?.id);
        if (!pending) return this.#fail(`wrote a response that nobody waits for: ${line.slice(0, 200)}`);
        this.#pending.delete(response.id);
        pending.resolve(response);
    }

    #fail(what) {
        const error = new ProtocolFault(`the client ${what}${this.#stderr && `\n${this.#stderr}`}`);
        for (const { reject } of this.#pending.values()) reject(error);
        this.#pending.clear();
    }
}
