/** The interceptor that tutorials show: on a 401 it refreshes and repeats, and where the refresh fails, it logs the user out. */

import axios from 'axios';

import { application } from './app.mjs';

application((api, tokens, gateway) => {
    api.interceptors.response.use(undefined, async (error) => {
        const { config, response } = error;
        if (response?.status !== 401 || config.isRetry) throw error;
        config.isRetry = true;
        try {
            const { data } = await axios.post(`${gateway}/refresh`, { refreshToken: tokens.get('refreshToken') });
            tokens.set(data);
        } catch (failure) {
            tokens.clear();
            throw failure;
        }
        return api.request(config);
    });
});
