import createApi from 'openapi-fetch';
import { createClient } from 'tokengate-client';

export const client = createClient({ baseUrl: 'https://api.example.com' });
export const api = createApi({ baseUrl: 'https://api.example.com', fetch: client.fetch });
