/** Svelte's view of a client: a store, which needs nothing of Svelte. */

import type { Client, Status } from './client.js';

export interface AuthState<User = unknown> {
    /** `"unknown"` on the server, and while an old token is exchanged. */
    readonly status: Status;
    readonly user: User | null;
}

export interface AuthStore<User = unknown> extends Pick<Client, 'login' | 'register' | 'quickRegister' | 'logout' | 'fetch'> {
    /** The contract of stores: calls at once, and after every change. */
    subscribe(run: (state: AuthState<User>) => void): () => void;
    readonly client: Client;
}

/** `$auth.status` and `$auth.user` in components. Make it in a module, once. */
export function authStore<User = unknown>(client: Client): AuthStore<User> {
    const { login, register, quickRegister, logout, fetch } = client;
    return {
        subscribe(run) {
            const tell = () => run(client.state() as AuthState<User>);
            const unsubscribe = client.subscribe(tell);
            tell();
            return unsubscribe;
        },
        client,
        login,
        register,
        quickRegister,
        logout,
        fetch,
    };
}
