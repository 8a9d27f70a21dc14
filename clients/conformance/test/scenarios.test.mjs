/** Each scenario can fail: for each that the clients of the README's table do not break, there is a wrong client that does. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { run } from '../src/run.mjs';
import { SCENARIOS } from '../src/scenarios/index.mjs';

/** What a client does wrong, the scenarios that find it, and the rule that they name. */
const WRONGS = [
    ['sends-no-token', ['call'], 'bearer'],
    ['never-refreshes', ['expired', 'short-lived'], 'refresh-once'],
    ['drops-bodies', ['body'], 'refresh-once'],
    ['insists', ['refused-still'], 'refresh-once'],
    ['refreshes-on-403', ['forbidden'], 'no-refresh'],
    ['refreshes-on-503', ['unvouched'], 'no-refresh'],
    ['drops-before', ['killed'], 'keep-and-retry'],
    ['forgets', ['restart'], 'keep-and-retry'],
    ['keeps-first', ['chain'], 'newest'],
    ['reads-once', ['two-processes'], 'newest'],
    ['reads-once', ['logout-elsewhere'], 'user-first'],
    ['tells-nobody', ['logout'], 'user-first'],
    ['keeps-after-logout', ['logout-during-refresh'], 'user-first'],
    ['reads-exp', ['clock-behind'], 'lifetime'],
    ['distrusts-iat', ['clock-ahead'], 'lifetime'],
];

const README = readFileSync(join(import.meta.dirname, '../README.md'), 'utf8');
const brokenInTheTable = README.split('\n')
    .filter((line) => line.includes('✗'))
    .map((line) => /^\| `([\w-]+)`/.exec(line)?.[1]);

test('every scenario is broken by somebody', () => {
    const broken = new Set([...brokenInTheTable, ...WRONGS.flatMap(([, names]) => names)]);
    assert.deepEqual(
        SCENARIOS.map(({ name }) => name).filter((name) => !broken.has(name)),
        [],
    );
});

test('a wrong client is told its rule', { concurrency: 4 }, (all) =>
    Promise.all(
        WRONGS.map(([wrong, only, rule]) =>
            all.test(`a client that ${wrong} breaks ${rule} in ${only.join(', ')}`, async () => {
                const results = await run(['node', join(import.meta.dirname, 'wrong.mjs'), wrong], { only });
                for (const { name, outcome, rule: told } of results)
                    assert.deepEqual([name, outcome, told], [name, 'broken', rule]);
            }),
        ),
    ),
);
