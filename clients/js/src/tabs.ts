/** One tab's copy of the browser's state: the newest entry that it has seen anywhere. */

import { type Entry, NOTHING, compare, isKnown, parse } from './entry.js';
import type { Channel, Platform } from './platform.js';
import type { Storage } from './storage.js';

/** How the present entry came to be known. */
export type Source = 'own' | 'other';

export interface Tabs {
    current(): Entry;
    /** Looks whether another tab has stored something newer. */
    sync(): void;
    /** Takes an entry of this tab's own making, and tells the others. An older one than is known changes nothing. */
    commit(entry: Entry): void;
    /** Takes an entry for this tab alone. */
    assume(entry: Entry): void;
    /** Begins to hear of other tabs. */
    open(): void;
    close(): void;
}

/** What the tabs of one storage call their channel and their lock. */
export function nameOf(sharedAs: string): string {
    return `tokengate:${sharedAs}`;
}

/** `changed` is called after every change, with where it came from. */
export function tabs(platform: Platform, storage: Storage, changed: (source: Source) => void): Tabs {
    let current = NOTHING;
    let channel: Channel | undefined;
    let unwatch: (() => void) | undefined;

    function adopt(entry: Entry) {
        if (compare(entry, current) <= 0) return;
        current = entry;
        changed('other');
    }

    function sync() {
        const stored = storage.read();
        if (stored) adopt(stored);
    }

    /** Whoever is behind is told; that ends, because each message is newer than the one that it answers. */
    function hear(message: unknown) {
        const entry = parse(message);
        if (!entry) return;
        adopt(entry);
        if (compare(entry, current) < 0 && isKnown(current)) channel?.post(current);
        keep();
    }

    /** The browser's processes see each other's writes late: what is older than we know was written over what we know. */
    function keep() {
        const stored = storage.read();
        if (stored && compare(stored, current) < 0 && isKnown(current)) storage.write(current);
    }

    return {
        current: () => current,
        sync,
        commit(entry) {
            sync();
            if (compare(entry, current) <= 0) return;
            current = entry;
            storage.write(entry);
            channel?.post(entry);
            changed('own');
        },
        assume(entry) {
            current = entry;
            changed('other');
        },
        open() {
            sync();
            if (!storage.sharedAs) return;
            channel ??= platform.channel(nameOf(storage.sharedAs), hear);
            unwatch ??= storage.watch?.((entry) => {
                if (entry) {
                    adopt(entry);
                    keep();
                } else if (compare(current, NOTHING) > 0) {
                    // Someone emptied the storage: the count of logins begins anew, and nobody is signed in.
                    current = NOTHING;
                    changed('other');
                    sync();
                }
            });
        },
        close() {
            channel?.close();
            unwatch?.();
            channel = unwatch = undefined;
        },
    };
}
