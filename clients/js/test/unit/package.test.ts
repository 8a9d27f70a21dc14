import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import { build } from 'esbuild';
import { describe, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const CORE_BYTES_MAX = 5 * 1024;

async function bundle(code: string): Promise<string> {
    const { outputFiles } = await build({
        stdin: { contents: code, resolveDir: ROOT, loader: 'ts' },
        bundle: true,
        minify: true,
        format: 'esm',
        target: 'es2022',
        write: false,
        external: ['react', 'vue'],
        // What the code does, not what package.json says of it.
        ignoreAnnotations: true,
    });
    return outputFiles[0]!.text;
}

describe('the package', () => {
    test('is at most 5 KiB, minified and gzipped', async () => {
        const size = gzipSync(await bundle(`export * from './src/index.ts'`), { level: 9 }).length;
        expect(size).toBeLessThanOrEqual(CORE_BYTES_MAX);
    });

    test('has no side effects: what is imported and not used leaves nothing', async () => {
        expect((await bundle(`import './src/index.ts'`)).trim()).toBe('');
    });

    test('depends on nothing, and the core knows nothing of React, Vue and servers', async () => {
        const { dependencies, peerDependenciesMeta } = JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8'));
        expect(dependencies).toBeUndefined();
        expect(peerDependenciesMeta).toEqual({ react: { optional: true }, vue: { optional: true } });
        expect(await bundle(`export * from './src/index.ts'`)).not.toMatch(/react|vue|token_unusable|Set-?Cookie/i);
        expect(await bundle(`export * from './src/react.ts'`)).toContain('react');
        expect(await bundle(`export * from './src/vue.ts'`)).toContain('vue');
        expect(await bundle(`export * from './src/svelte.ts'`)).not.toContain('import');
    });

    test('holds what is built, and no more', () => {
        const [pack] = JSON.parse(
            execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: ROOT, encoding: 'utf8' }),
        );
        const files = (pack.files as Array<{ path: string }>).map(({ path }) => path);
        expect(files).toEqual(
            expect.arrayContaining([
                'README.md',
                'package.json',
                ...['index', 'react', 'vue', 'svelte', 'server', 'problems', 'ticket', 'renewal'].flatMap((name) => [
                    `dist/${name}.js`,
                    `dist/${name}.d.ts`,
                ]),
            ]),
        );
        expect(files.filter((path) => !path.startsWith('dist/') && path !== 'README.md' && path !== 'package.json')).toEqual([]);
    });

    test('names no host in its lock file', () => {
        expect(readFileSync(`${ROOT}package-lock.json`, 'utf8')).not.toContain('"resolved"');
    });
});

describe('the README', () => {
    const readme = readFileSync(`${ROOT}README.md`, 'utf8');
    test.each(readdirSync(`${ROOT}examples`))('shows examples/%s as it is', (name) => {
        expect(readme).toContain(readFileSync(`${ROOT}examples/${name}`, 'utf8').trim());
    });
});
