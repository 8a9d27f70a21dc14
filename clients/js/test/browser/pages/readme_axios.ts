import { api } from '../../../examples/axios.js';

Object.assign(window, {
    run(count: number) {
        const ask = async (_: unknown, i: number) => {
            const { status, data } = await api.request({ url: `/api/${i}`, method: 'POST', data: { i } });
            return [status, data.subject];
        };
        return Promise.all(Array.from({ length: count }, ask));
    },
});
