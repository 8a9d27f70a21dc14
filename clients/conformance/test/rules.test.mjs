import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { RULES } from '../src/rules.mjs';
import { SCENARIOS } from '../src/scenarios/index.mjs';

const README = readFileSync(join(import.meta.dirname, '../../../README.md'), 'utf8');
const words = (text) => text.replace(/\s+/g, ' ');

test('the rules are those of the README, word for word', () => {
    const section = words(README.split('## For those who write clients')[1].split('\n## ')[0]);
    for (const [name, text] of Object.entries(RULES)) assert.ok(section.includes(words(text)), `${name}: ${text}`);
});

test('no two scenarios have one name', () => {
    const names = SCENARIOS.map(({ name }) => name);
    assert.deepEqual([...new Set(names)], names);
});
