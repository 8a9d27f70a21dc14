/** Builds the demo's page into the folder from which the gateway's binary takes it. A folder as argument: there instead. */

import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { build } from 'esbuild';

const here = import.meta.dirname;

export async function buildDemo(folder) {
    await mkdir(folder, { recursive: true });
    await build({
        entryPoints: [join(here, 'app.ts')],
        outfile: join(folder, 'app.js'),
        bundle: true,
        minify: true,
        format: 'esm',
        target: 'es2022',
        charset: 'utf8',
        legalComments: 'none',
        banner: { js: '// Built from clients/js/demo: npm run build:demo' },
        logLevel: 'warning',
    });
    for (const name of ['index.html', 'style.css', 'icon.svg']) await copyFile(join(here, name), join(folder, name));
}

if (process.argv[1] === import.meta.filename) await buildDemo(process.argv[2] ?? join(here, '../../../src/cli/demo/page'));
