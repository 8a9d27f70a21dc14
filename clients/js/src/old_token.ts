/** The token that older code left in `localStorage`. */

import { tried } from './platform.js';

export interface OldToken {
    read(): string | undefined;
    /** It was exchanged or refused, or its user has logged out. */
    remove(): void;
}

export function oldToken(key: string | false): OldToken {
    // Not there, or blocked by the user: then there is no token.
    return {
        read: () => tried(() => key && localStorage.getItem(key)) || undefined,
        remove: () => tried(() => key && localStorage.removeItem(key)),
    };
}
