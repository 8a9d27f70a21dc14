/** The log of what the client does. */

import type { ClientEvent } from '../src/index.js';
import { at, element } from './dom.js';

/** `good` succeeded, `other` came from another tab, `warn` is put off, `end` is over. */
export type Kind = 'good' | 'other' | 'warn' | 'end' | 'plain';

const LINES_MAX = 200;

export function tell(event: ClientEvent) {
    switch (event.type) {
        case 'signed-in':
            return say(
                event.source === 'own' ? 'good' : 'other',
                event.source === 'own' ? 'Signed in' : 'Signed in by what another tab has, or an earlier visit',
            );
        case 'signed-out':
            return say('end', event.source === 'own' ? 'Signed out' : 'Signed out, as in another tab');
        case 'refreshing':
            return say('plain', `Sending the refresh token of generation ${event.generation}`);
        case 'refreshed':
            return say('good', `Refreshed: generation ${event.generation}`);
        case 'adopted':
            return say('other', `Another tab has refreshed: generation ${event.generation}`);
        case 'postponed':
            return say(
                'warn',
                `No response that counts. The session is kept; next try in ${(event.milliseconds / 1000).toFixed(1)} s`,
            );
        case 'discarded':
            return say('warn', 'A refresh ended after its session, and was thrown away');
        case 'retrying':
            return say('warn', `${new URL(event.url).pathname} was refused for its token, and is sent again`);
    }
}

export function say(kind: Kind, text: string) {
    const time = element('time', { text: new Date().toLocaleTimeString('en-GB') });
    const line = element('li', {}, time, element('span', { text }));
    line.dataset.is = kind;
    at('log').prepend(line);
    while (at('log').childElementCount > LINES_MAX) at('log').lastElementChild?.remove();
}
