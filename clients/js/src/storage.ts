/** Where a tab keeps what it knows of its login. */

import { type Entry, parse } from './entry.js';
import { listen, tried } from './platform.js';

/** A place of one's own needs no more than this. Reading and writing must not wait. */
export interface Storage {
    /** What was written last, by whichever tab; `undefined` when there is nothing. */
    read(): Entry | undefined;
    write(entry: Entry): void;
    /** Calls when another tab wrote, with `undefined` when it removed everything; gives what ends that. */
    watch?(listener: (entry: Entry | undefined) => void): () => void;
    /** Whether all tabs see the same. `undefined`: each tab has a login of its own, and no tab tells another. */
    readonly sharedAs?: string | undefined;
    /** Whether tokens travel in cookies, where scripts cannot read them. */
    readonly cookies?: boolean;
    /** Whether there is nothing to read from here, as on a server: nobody can tell who is signed in. */
    readonly isBlind?: boolean;
}

/** The storages that come along. */
export type StorageKind = 'memory' | 'localStorage' | 'cookie';

export function storageOf(kind: StorageKind, key: string): Storage {
    // With cookies, what is kept holds no tokens: a hint that there is a session, its generation, and the user of the login's response.
    return kind === 'memory' ? inMemory() : { ...inLocalStorage(key), cookies: kind === 'cookie' };
}

/** This tab alone, until it is closed or loaded again. Every tab has a session of its own. */
function inMemory(): Storage {
    let kept: Entry | undefined;
    return {
        read: () => kept,
        write(entry) {
            kept = entry;
        },
    };
}

/** Shared by all tabs, and kept when the browser is closed. Any script of the origin can read it. */
function inLocalStorage(key: string): Storage {
    // Where the browser refuses to store (private mode, full disk, blocked by the user), at least this tab goes on.
    let unstored: Entry | undefined;
    const entryOf = (text: () => string | null) => tried(() => parse(JSON.parse(text() ?? 'null')));
    return {
        sharedAs: key,
        isBlind: !globalThis.window,
        read: () => unstored ?? entryOf(() => localStorage.getItem(key)),
        write(entry) {
            try {
                localStorage.setItem(key, JSON.stringify(entry));
                unstored = undefined;
            } catch {
                unstored = entry;
            }
        },
        watch: (listener) =>
            listen<StorageEvent>(['storage'], ({ storageArea, key: changed, newValue }) => {
                if (storageArea !== localStorage || (changed !== null && changed !== key)) return;
                const entry = entryOf(() => newValue);
                if (entry || newValue === null) listener(entry);
            }),
    };
}
