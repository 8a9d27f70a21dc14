/** An authenticator app: codes of RFC 6238, with its usual parameters. */

import { createHmac } from 'node:crypto';

const STEP_SECONDS = 30;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/**
 * Gives codes that were not given before: servers take none twice. They take those of one step before and after now, so two can be had at
 * once, and each is good for half a minute at least.
 */
export function authenticator(secret: string): () => string {
    const key = fromBase32(secret);
    let last = 0;
    return () => {
        last = Math.max(Math.floor(Date.now() / 1000 / STEP_SECONDS), last + 1);
        const step = Buffer.alloc(8);
        step.writeBigUInt64BE(BigInt(last));
        const tag = createHmac('sha1', key).update(step).digest();
        const word = tag.readUInt32BE(tag[tag.length - 1]! & 0xf) & 0x7fffffff;
        return String(word % 1_000_000).padStart(6, '0');
    };
}

function fromBase32(text: string): Buffer {
    const bits = [...text].map((letter) => ALPHABET.indexOf(letter).toString(2).padStart(5, '0')).join('');
    return Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => parseInt(byte, 2)));
}
