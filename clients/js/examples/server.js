import { createServer } from 'node:http';
import { serverClient } from 'tokengate-client/server';

export const server = createServer(async (request, response) => {
  const gateway = serverClient({ baseUrl: 'https://api.example.com', cookie: request.headers.cookie });
  const orders = await gateway.fetch('/api/orders');
  // Before the first byte of the page: after a refresh, the browser must get its new cookies.
  response.setHeader('set-cookie', gateway.setCookies());
  if (orders.status === 401) return response.writeHead(303, { location: '/sign-in' }).end();
  response.end(`You have ${(await orders.json()).orders.length} orders.`);
});
