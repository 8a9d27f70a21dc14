import axios from 'axios';
import { createClient } from 'tokengate-client';

export const client = createClient({ baseUrl: 'https://api.example.com' });
export const api = axios.create({ baseURL: 'https://api.example.com' });

api.interceptors.request.use(async (config) => {
  config.token = await client.accessToken({ refused: config.token });
  if (config.token) config.headers.set('authorization', `Bearer ${config.token}`);
  return config;
});

api.interceptors.response.use(undefined, (error) => {
  const { config, response } = error;
  const refused = response?.status === 401 && /invalid_token/.test(response.headers['www-authenticate'] ?? '');
  if (!refused || config.retried) throw error;
  config.retried = true;
  return api.request(config);
});
