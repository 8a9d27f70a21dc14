import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import { TokengateError } from '../../src/errors.js';
import { PROBLEM_CODES, problemOf } from '../../src/problems.js';

const GATEWAY = join(import.meta.dirname, '../../../../src');
/** The tables of the gateway's refusals. */
const TABLES = ['endpoints/refusal.rs', 'proxy/request/refusal.rs', 'proxy/reply.rs'];
/** What they call `error` is OAuth's. */
const OAUTH_ERRORS = /^(invalid|unsupported|insufficient|temporarily)_/;

describe('the codes', () => {
    test("are those of the gateway's tables, in their order", () => {
        const texts = TABLES.map((path) => readFileSync(join(GATEWAY, path), 'utf8').split('#[cfg(test)]')[0]!);
        // Every argument in snake case there is a code, or a name of OAuth's.
        const found = texts.flatMap((text) =>
            [...text.matchAll(/(?<=[\s(])"([a-z]+(?:_[a-z]+)*)"(?=[,)])/g)].map(([, name]) => name!),
        );
        const codes = found.filter((name) => !OAUTH_ERRORS.test(name));
        expect(PROBLEM_CODES).toEqual([...new Set(codes)].sort());
    });
});

describe('a problem', () => {
    const problem = { type: 'about:blank', title: 'Unauthorized', status: 401, code: 'token_expired', detail: 'It has expired.' };

    test('is found in an error of the client, and in JSON', () => {
        const error = new TokengateError('refused', 'no', { status: 401, problem });
        expect(problemOf(error)).toBe(problem);
        expect(problemOf(problem)).toBe(problem);
        expect(problemOf(problem)?.code).toBe('token_expired');
    });

    test.each([
        undefined,
        null,
        'token_expired',
        new TypeError('network'),
        { code: 'token_expired' },
        { ...problem, code: 'credentials_invalid' },
        new TokengateError('refused', 'no', { status: 401, problem: { code: 'wrong_pin', message: 'no' } }),
    ])('is not found in %s', (value) => {
        expect(problemOf(value)).toBeUndefined();
    });
});
