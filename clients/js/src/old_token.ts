/** The token that older code left in `localStorage`. */

export interface OldToken {
    read(): string | undefined;
    /** It was exchanged or refused, or its user has logged out. */
    remove(): void;
}

export function oldToken(key: string | false): OldToken {
    const inStore = <T>(use: (store: Storage, key: string) => T): T | undefined => {
        try {
            return key === false ? undefined : use(localStorage, key);
        } catch {
            // Not there, or blocked by the user: then there is no token.
            return undefined;
        }
    };
    return {
        read: () => inStore((store, key) => store.getItem(key)) || undefined,
        remove: () => inStore((store, key) => store.removeItem(key)),
    };
}
