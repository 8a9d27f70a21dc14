#!/usr/bin/env node
/** `tokengate-conformance [--only NAME]… [--json] -- COMMAND …`; exit code 0: every rule is kept, 1: one is broken, 2: wrong call. */

import { parseArgs } from 'node:util';

import { RULES } from './src/rules.mjs';
import { run } from './src/run.mjs';
import { SCENARIOS } from './src/scenarios/index.mjs';

const USAGE = `Usage: tokengate-conformance [--only SCENARIO]... [--json] [--list] -- COMMAND [ARGUMENT]...

Starts COMMAND, a client that speaks the line protocol, and plays scenarios against it.
`;

const SIGNS = { kept: 'ok   ', broken: 'FAIL ', fault: 'FAULT', 'not applicable': '-    ' };

const split = process.argv.indexOf('--');
const command = split < 0 ? [] : process.argv.slice(split + 1);
const { only, json, list } = options();

if (list) {
    for (const { name, title } of SCENARIOS) console.log(`${name.padEnd(22)} ${title}`);
    process.exit(0);
}
if (!command.length) fail(USAGE);

const results = await run(command, { only, told: json ? undefined : tell });
if (json) console.log(JSON.stringify(results, undefined, 2));
else sumUp();
process.exitCode = results.every(({ outcome }) => outcome === 'kept' || outcome === 'not applicable') ? 0 : 1;

function options() {
    try {
        const { values } = parseArgs({
            args: process.argv.slice(2, split < 0 ? undefined : split),
            options: {
                only: { type: 'string', multiple: true, default: [] },
                json: { type: 'boolean', default: false },
                list: { type: 'boolean', default: false },
            },
        });
        const unknown = values.only.find((name) => !SCENARIOS.some((scenario) => scenario.name === name));
        if (unknown !== undefined)
            fail(`There is no scenario "${unknown}". There are: ${SCENARIOS.map(({ name }) => name).join(', ')}\n`);
        return values;
    } catch (error) {
        return fail(`${error.message}\n${USAGE}`);
    }
}

function fail(message) {
    process.stderr.write(message);
    process.exit(2);
}

function tell({ name, title, outcome, rule, message }) {
    console.log(`${SIGNS[outcome]} ${name.padEnd(22)} ${title}`);
    if (message) console.log(`        ${message}`);
    if (rule) console.log(`        Rule "${rule}": ${RULES[rule]}`);
}

function sumUp() {
    const count = (outcome) => results.filter((result) => result.outcome === outcome).length;
    console.log(
        `\n${count('kept')} kept, ${count('broken')} broken, ${count('fault')} faults of the protocol, ${count('not applicable')} not applicable`,
    );
}
