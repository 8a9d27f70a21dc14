import { createClient } from 'tokengate-client';

export const client = createClient({ baseUrl: 'https://api.example.com' });

/** For any HTTP client: the headers of one request. */
export async function authorization() {
  const token = await client.accessToken();
  return token ? { authorization: `Bearer ${token}` } : {};
}
