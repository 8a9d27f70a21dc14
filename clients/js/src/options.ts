/** What a client is made with, and what holds where nothing is said. */

import type { ClientEvent } from './events.js';
import type { Timing } from './refresher.js';
import type { Storage, StorageKind } from './storage.js';

export interface Endpoints {
    readonly login: string;
    readonly register: string;
    readonly quickRegister: string;
    readonly refresh: string;
    readonly logout: string;
    readonly sessions: string;
}

/** Names of the members of responses: `login.members` in the gateway's settings. */
export interface Members {
    readonly accessToken: string;
    readonly refreshToken: string;
    readonly expiresIn: string;
    readonly generation: string;
}

export interface ClientOptions {
    /** Where the gateway is. The page's own origin by default. Relative addresses given to `fetch` are relative to it. */
    baseUrl?: string | URL;
    /** `"localStorage"` (default), `"memory"`, `"cookie"`, or a place of one's own. */
    storage?: StorageKind | Storage;
    /** What the entry in `localStorage` is called, and what tabs that share a login call each other. */
    key?: string;
    /** Further origins that get the token, for APIs beside the gateway. */
    origins?: readonly (string | URL)[];
    /** Where the gateway's own endpoints are, if elsewhere. */
    endpoints?: Partial<Endpoints>;
    /** What the members of its responses are called, if otherwise. */
    members?: Partial<Members>;
    /** What of a login's response is the user; its `user` by default. Kept in the storage, so leave out what is secret. */
    user?: (body: Record<string, unknown>) => unknown;
    /** Seconds before its end at which an access token is refreshed. 60. */
    refreshBefore?: number;
    /** At most so many seconds earlier, by chance. A sixth of `refreshBefore`. */
    refreshJitter?: number;
    /** Seconds after which an attempt to refresh is given up: a third of the gateway's `refresh.leeway`. 10. */
    refreshTimeout?: number;
    /** Where older code keeps its token in `localStorage`: it is exchanged once, and removed. `"authToken"`; `false`: nowhere. */
    oldTokenKey?: string | false;
    /** The field that the gateway takes as a sign that no other site made the call; for cookies alone. `"x-csrf"`. */
    csrfHeader?: string;
    /** Told of everything that the client does by itself. */
    onEvent?: (event: ClientEvent) => void;
}

/** Where an endpoint is, unless that is said: `/quick-register` is the one of two words. */
export function pathOf(name: keyof Endpoints): string {
    return `/${name.replace('R', '-r')}`;
}

export function timingOf({ refreshBefore = 60, refreshJitter = refreshBefore / 6, refreshTimeout = 10 }: ClientOptions): Timing {
    return { refreshBefore: refreshBefore * 1000, jitter: refreshJitter * 1000, timeout: refreshTimeout * 1000 };
}
