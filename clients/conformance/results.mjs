/**
 * Runs the kit against the clients that the README's table names, and writes the table; with `--check` says instead whether it is
 * still true, and that those clients that must keep every rule do. Clients whose packages are not there are an error.
 */

import { readFileSync, writeFileSync } from 'node:fs';

import { run } from './src/run.mjs';

const SUBJECTS = [
    { name: 'clients/js', command: ['node', 'subjects/js.mjs'], mustKeepAll: true },
    { name: 'clients/python', command: ['../python/venv/bin/python', '../python/conformance.py'], mustKeepAll: true },
    { name: 'tutorial interceptor', command: ['node', 'subjects/peers/axios_interceptor.mjs'] },
    { name: 'axios-auth-refresh', command: ['node', 'subjects/peers/axios_auth_refresh.mjs'] },
];
const [BEGIN, END] = ['<!-- results -->', '<!-- /results -->'];
const SIGNS = { kept: '✓', 'not applicable': '–' };

process.chdir(import.meta.dirname);
const results = [];
// Two at once: they wait more than they work, but the clocks of more would be late.
for (let i = 0; i < SUBJECTS.length; i += 2)
    results.push(...(await Promise.all(SUBJECTS.slice(i, i + 2).map(({ command }) => run(command)))));

const faults = SUBJECTS.flatMap(({ name, mustKeepAll }, i) =>
    results[i]
        .filter(({ outcome }) => outcome === 'fault' || (mustKeepAll && outcome !== 'kept'))
        .map((result) => `${name}: ${result.name}: ${result.message}`),
);
const text = readFileSync('README.md', 'utf8');
const [before, rest] = text.split(BEGIN);
const after = rest.split(END)[1];
const wanted = `${before}${BEGIN}\n${table()}\n${END}${after}`;
if (!process.argv.includes('--check')) writeFileSync('README.md', wanted);
else if (wanted !== text) faults.push(`the table is not what was found; run \`node results.mjs\`. Found:\n${table()}`);
for (const fault of faults) console.error(fault);
process.exitCode = faults.length ? 1 : 0;

function table() {
    const head = ['scenario', 'what happens', ...SUBJECTS.map(({ name }) => name)];
    const rows = results[0].map(({ name, title }, i) => [`\`${name}\``, title, ...results.map((all) => sign(all[i]))]);
    const kept = results.map((all) => `${all.filter(({ outcome }) => outcome === 'kept').length} of ${all.length}`);
    const lines = [head, head.map(() => '---'), ...rows, ['', 'kept', ...kept]];
    return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

function sign({ outcome, rule }) {
    return SIGNS[outcome] ?? `✗ ${rule ?? outcome}`;
}
