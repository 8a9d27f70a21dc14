import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

import { expect, test } from 'vitest';

const SOURCES = join(import.meta.dirname, '../../src');

/** The modules that each module imports, for their types alone too. */
function imports(): Map<string, string[]> {
    const names = readdirSync(SOURCES).filter((name) => name.endsWith('.ts'));
    const importsOf = (name: string) =>
        [...readFileSync(join(SOURCES, name), 'utf8').matchAll(/from '\.\/(\w+)\.js'/g)].map(([, module]) => module!);
    return new Map(names.map((name) => [name.replace(/\.ts$/, ''), importsOf(name)]));
}

/** The modules that a module needs, by way of others too. */
function needed(module: string, all: Map<string, string[]>, found = new Set<string>()): Set<string> {
    for (const next of all.get(module) ?? []) {
        if (!found.has(next)) needed(next, all, found.add(next));
    }
    return found;
}

test('no module needs itself by way of others', () => {
    const all = imports();
    expect(needed('index', all)).toContain('entry');
    for (const module of all.keys()) expect(needed(module, all), module).not.toContain(module);
});
