import { authorization } from '../../../examples/headers.js';

Object.assign(window, {
    async run() {
        const answer = await fetch('/api/x', { headers: await authorization() });
        return answer.json();
    },
});
