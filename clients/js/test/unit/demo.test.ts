import { mkdtempSync, readFileSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { buildDemo } from '../../demo/build.mjs';

const EMBEDDED = join(import.meta.dirname, '../../../../src/cli/demo/page');

test('the page in the gateway is what its sources give; else: npm run build:demo', async () => {
    const built = mkdtempSync(join(tmpdir(), 'tokengate-demo-page-'));
    await buildDemo(built);
    expect(readdirSync(EMBEDDED).sort()).toEqual(readdirSync(built).sort());
    for (const name of readdirSync(built)) {
        expect(readFileSync(join(EMBEDDED, name), 'utf8'), name).toBe(readFileSync(join(built, name), 'utf8'));
    }
});
