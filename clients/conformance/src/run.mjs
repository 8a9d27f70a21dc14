/** Plays scenarios against a client, and says what it breaks. */

import { ProtocolFault } from './client.mjs';
import { SCENARIOS } from './scenarios/index.mjs';
import { Breach, NotApplicable, Stage } from './stage.mjs';

/** Most of the time, scenarios wait. */
const AT_ONCE_MAX = 6;

/**
 * One result for each scenario, in their order: `{ name, title, outcome, rule?, message? }`; `outcome` is `"kept"`, `"broken"`,
 * `"not applicable"`, or `"fault"`: the client does not speak the protocol.
 */
export async function run(command, { only = [], told = () => undefined } = {}) {
    const chosen = SCENARIOS.filter(({ name }) => !only.length || only.includes(name));
    const results = new Array(chosen.length);
    let next = 0;
    const worker = async () => {
        while (next < chosen.length) {
            const place = next++;
            results[place] = await played(chosen[place], command);
            told(results[place]);
        }
    };
    await Promise.all(Array.from({ length: AT_ONCE_MAX }, worker));
    return results;
}

async function played({ name, title, settings, play }, command) {
    try {
        await Stage.with(command, settings, play);
        return { name, title, outcome: 'kept' };
    } catch (error) {
        const { message, rule } = error;
        if (error instanceof Breach) return { name, title, outcome: 'broken', rule, message };
        if (error instanceof NotApplicable) return { name, title, outcome: 'not applicable', message };
        if (error instanceof ProtocolFault) return { name, title, outcome: 'fault', message };
        throw error;
    }
}
