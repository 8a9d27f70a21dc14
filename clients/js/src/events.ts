/** What the client does by itself, for those who want to be told. */

import type { RefreshEvent } from './refresher.js';
import type { Source } from './tabs.js';

export type ClientEvent =
    | RefreshEvent
    | { readonly type: 'signed-in' | 'signed-out'; readonly source: Source }
    /** Another tab has refreshed. */
    | { readonly type: 'adopted'; readonly generation: number }
    /** A request was refused for its token, and is sent again with a new one. */
    | { readonly type: 'retrying'; readonly url: string };
