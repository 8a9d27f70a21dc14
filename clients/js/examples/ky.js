import ky from 'ky';
import { createClient } from 'tokengate-client';

export const client = createClient({ baseUrl: 'https://api.example.com' });
export const api = ky.create({ prefixUrl: 'https://api.example.com', fetch: client.fetch });
