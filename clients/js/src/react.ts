/** React's view of a client. */

import { type ReactNode, createContext, createElement, useContext, useMemo, useSyncExternalStore } from 'react';

import type { Client, State, Status } from './client.js';

export interface Auth<User = unknown> extends Pick<Client, 'login' | 'register' | 'quickRegister' | 'logout' | 'fetch'> {
    /** `"unknown"` on the server, while hydrating, and while an old token is exchanged. */
    readonly status: Status;
    readonly user: User | null;
    readonly client: Client;
}

/** Constant: what the server renders, and what the browser hydrates with. */
const ON_THE_SERVER: State = { status: 'unknown', user: null };
const onTheServer = () => ON_THE_SERVER;

const Context = createContext<Client | undefined>(undefined);

/** Hands a client down. Make it outside of components, once. */
export function AuthProvider({ client, children }: { client: Client; children?: ReactNode }) {
    return createElement(Context.Provider, { value: client }, children);
}

/** Who is signed in, and what can be done about it. */
export function useAuth<User = unknown>(): Auth<User> {
    const client = useContext(Context);
    if (!client) throw new Error('useAuth needs an AuthProvider above it.');
    const { status, user } = useSyncExternalStore(client.subscribe, client.state, onTheServer);
    return useMemo(() => {
        const { login, register, quickRegister, logout, fetch } = client;
        return { status, user: user as User | null, client, login, register, quickRegister, logout, fetch };
    }, [client, status, user]);
}
