/** An application with axios, as many are: tokens in a store that all tabs share, and an interceptor for what is refused. */

import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import axios from 'axios';

import { serve } from '../protocol.mjs';

/** `intercept` adds to the axios instance what refreshes; it is given the storage and the gateway's address. */
export function application(intercept) {
    let api;
    let address;
    let tokens;

    serve({
        start({ gateway, storage }) {
            address = gateway;
            tokens = localStorage(join(storage, 'tokens.json'));
            api = axios.create({ baseURL: gateway });
            api.interceptors.request.use((config) => {
                const token = tokens.get('accessToken');
                if (token) config.headers.Authorization = `Bearer ${token}`;
                return config;
            });
            intercept(api, tokens, gateway);
            return { storage: 'shared' };
        },
        async login(credentials) {
            const { status, data } = await axios.post(`${address}/login`, credentials);
            tokens.set(data);
            return { status };
        },
        async request({ path, method, body }) {
            try {
                const { status } = await api.request({ url: path, method, data: body });
                return { status };
            } catch (error) {
                if (error.response) return { status: error.response.status };
                throw error;
            }
        },
        async logout() {
            const refreshToken = tokens.get('refreshToken');
            await axios.post(`${address}/logout`, { refreshToken }).finally(() => tokens.clear());
            return {};
        },
        state: () => ({ state: tokens.get('accessToken') ? 'signed-in' : 'signed-out' }),
    });
}

/** What `localStorage` is in a browser. */
function localStorage(path) {
    const read = () => {
        try {
            return JSON.parse(readFileSync(path, 'utf8'));
        } catch {
            return {};
        }
    };
    const write = (entries) => {
        // Whoever reads meanwhile gets the former whole or the new one.
        writeFileSync(`${path}.${process.pid}`, JSON.stringify(entries));
        renameSync(`${path}.${process.pid}`, path);
    };
    return {
        get: (name) => read()[name],
        set: ({ accessToken, refreshToken }) => write({ accessToken, refreshToken }),
        clear: () => write({}),
    };
}
