import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import { TokengateError } from '../../src/errors.js';
import { PROBLEM_CODES, problemOf } from '../../src/problems.js';

/** The table of the gateway's codes. */
const TABLE = join(import.meta.dirname, '../../../../src/domain/problem_code.rs');

describe('the codes', () => {
    test("are those of the gateway's table, in their order", () => {
        const rows = readFileSync(TABLE, 'utf8').matchAll(/^ {4}\w+ = "(\w+)" \[/gm);
        expect(PROBLEM_CODES).toEqual([...rows].map(([, code]) => code));
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
