/** Vue's view of a client. */

import { type App, type ComputedRef, type InjectionKey, computed, inject, onMounted, shallowRef } from 'vue';

import type { Client, State, Status } from './client.js';

export interface Auth<User = unknown> extends Pick<Client, 'login' | 'register' | 'quickRegister' | 'logout' | 'fetch'> {
    /** `"unknown"` on the server, until the application is mounted, and while an old token is exchanged. */
    readonly status: ComputedRef<Status>;
    readonly user: ComputedRef<User | null>;
    readonly client: Client;
}

interface Provided {
    readonly client: Client;
    readonly state: ComputedRef<State>;
    /** Begins to follow the client. */
    follow(): void;
}

const KEY: InjectionKey<Provided> = Symbol('tokengate');

/** A plugin: `app.use(tokengate(client))`. Make the client outside of components, once. */
export function tokengate(client: Client) {
    return {
        install(app: App) {
            // What the server renders, and what the browser hydrates with.
            const state = shallowRef<State>({ status: 'unknown', user: null });
            let unfollow: (() => void) | undefined;
            const update = () => void (state.value = client.state());
            const follow = () => {
                if (unfollow) return;
                unfollow = client.subscribe(update);
                update();
            };
            app.onUnmount(() => unfollow?.());
            app.provide(KEY, { client, state: computed(() => state.value), follow });
        },
    };
}

/** Who is signed in, and what can be done about it. */
export function useAuth<User = unknown>(): Auth<User> {
    const provided = inject(KEY, undefined);
    if (!provided) throw new Error('useAuth needs app.use(tokengate(client)).');
    const { client, state, follow } = provided;
    onMounted(follow);
    const { login, register, quickRegister, logout, fetch } = client;
    return {
        status: computed(() => state.value.status),
        user: computed(() => state.value.user as User | null),
        client,
        login,
        register,
        quickRegister,
        logout,
        fetch,
    };
}
