/** The client's side of the kit's line protocol, for clients in JavaScript. */

import { createInterface } from 'node:readline';

/** `commands` are functions by name, of the command's members; what they give or throw is the response. */
export function serve(commands) {
    const input = createInterface({ input: process.stdin });
    input.on('line', async (line) => {
        const { id, do: name, ...parameters } = JSON.parse(line);
        const write = (response) => process.stdout.write(`${JSON.stringify({ id, ...response })}\n`);
        try {
            write(await commands[name](parameters));
        } catch (error) {
            write({ error: String(error?.message ?? error) });
        }
    });
    input.on('close', () => process.exit());
}
