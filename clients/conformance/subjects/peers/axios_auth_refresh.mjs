/** axios-auth-refresh as its README shows it. A refresh that ends with 401 logs the user out; its README leaves that to the application. */

import axios from 'axios';
import { createAuthRefresh } from 'axios-auth-refresh';

import { application } from './app.mjs';

application((api, tokens, gateway) => {
    createAuthRefresh(api, async (failed) => {
        try {
            const { data } = await axios.post(`${gateway}/refresh`, { refreshToken: tokens.get('refreshToken') });
            tokens.set(data);
            failed.response.config.headers.Authorization = `Bearer ${data.accessToken}`;
        } catch (error) {
            if (error.response?.status === 401) tokens.clear();
            throw error;
        }
    });
});
