'use strict';

// An Express application with the middlewares that such applications have. It answers with what it saw: what req says, and every
// field as it came.

const cookieParser = require('cookie-parser');
const express = require('express');
const methodOverride = require('method-override');

const app = express();
app.set('trust proxy', 'loopback');
app.use(express.json());
app.use(express.urlencoded({ extended: true }));
app.use(cookieParser());
for (const field of ['X-HTTP-Method', 'X-HTTP-Method-Override', 'X-Method-Override']) {
  app.use(methodOverride(field));
}
// As its documentation shows for forms.
app.use(methodOverride((req) => (req.body && typeof req.body === 'object' ? req.body._method : undefined)));

app.post('/login', (req, res) => {
  res.json({ user: { id: req.body?.email ?? 'user-1' } });
});

app.use((req, res) => {
  const headers = [];
  for (let at = 0; at < req.rawHeaders.length; at += 2) {
    headers.push(req.rawHeaders.slice(at, at + 2));
  }
  res.json({
    method: req.method,
    originalMethod: req.originalMethod ?? req.method,
    url: req.url,
    path: req.path,
    query: req.query,
    host: req.host,
    hostname: req.hostname,
    protocol: req.protocol,
    ip: req.ip,
    ips: req.ips,
    cookies: req.cookies,
    headers,
    trailers: req.trailers,
    body: req.body ?? null,
  });
});

const server = app.listen(0, '127.0.0.1', () => {
  console.log(`listening on port ${server.address().port}`);
});
