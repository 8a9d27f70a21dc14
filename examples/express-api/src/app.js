const bcrypt = require('bcryptjs');
const express = require('express');
const multer = require('multer');
const db = require('./db');
const { signAccessToken, createRefreshToken, findRefreshToken, revokeRefreshToken, authenticate } = require('./auth');

const BCRYPT_ROUNDS = Number(process.env.BCRYPT_ROUNDS || 10);
const upload = multer({ storage: multer.memoryStorage(), limits: { fileSize: 5 * 1024 * 1024 } });
const app = express();

app.use(express.json());

const publicUser = (user) => ({ id: user.id, email: user.email, name: user.name, role: user.role });

async function session(user) {
  return { token: signAccessToken(user), refreshToken: await createRefreshToken(user.id), user: publicUser(user) };
}

app.post('/register', async (req, res) => {
  const { email, password, name } = req.body || {};
  if (!email || !password || password.length < 8) {
    return res.status(400).json({ error: 'Email and a password of at least 8 characters are required' });
  }
  try {
    const hash = await bcrypt.hash(password, BCRYPT_ROUNDS);
    const { rows } = await db.query(
      'INSERT INTO users (email, name, password_hash) VALUES ($1, $2, $3) RETURNING *',
      [email.toLowerCase(), name || null, hash],
    );
    res.status(201).json(await session(rows[0]));
  } catch (err) {
    if (err.code === '23505') {
      return res.status(409).json({ error: 'Email already registered' });
    }
    throw err;
  }
});

app.post('/login', async (req, res) => {
  const { email, password } = req.body || {};
  const { rows } = await db.query('SELECT * FROM users WHERE email = $1', [String(email || '').toLowerCase()]);
  const user = rows[0];
  if (!user || !user.password_hash || !(await bcrypt.compare(String(password || ''), user.password_hash))) {
    return res.status(401).json({ error: 'Invalid email or password' });
  }
  res.json(await session(user));
});

app.post('/quick-register', async (req, res) => {
  const { rows } = await db.query('INSERT INTO users (name, role) VALUES ($1, \'guest\') RETURNING *', [
    (req.body && req.body.name) || 'Guest',
  ]);
  res.status(201).json(await session(rows[0]));
});

app.post('/refresh', async (req, res) => {
  const { refreshToken } = req.body || {};
  const row = refreshToken && (await findRefreshToken(refreshToken));
  if (!row) {
    return res.status(401).json({ error: 'Invalid refresh token' });
  }
  await db.query('UPDATE refresh_tokens SET last_used_at = NOW() AT TIME ZONE \'UTC\' WHERE id = $1', [row.id]);
  const { rows } = await db.query('SELECT * FROM users WHERE id = $1', [row.user_id]);
  res.json({ token: signAccessToken(rows[0]) });
});

app.post('/logout', async (req, res) => {
  if (req.body && req.body.refreshToken) {
    await revokeRefreshToken(req.body.refreshToken);
  }
  res.json({ message: 'Logged out' });
});

app.get('/me', authenticate, async (req, res) => {
  const { rows } = await db.query('SELECT * FROM users WHERE id = $1', [req.user.id]);
  if (!rows[0]) {
    return res.status(404).json({ error: 'User not found' });
  }
  res.json({ user: publicUser(rows[0]) });
});

app.post('/upload', authenticate, upload.single('file'), async (req, res) => {
  if (!req.file) {
    return res.status(400).json({ error: 'No file' });
  }
  const { rows } = await db.query(
    'INSERT INTO uploads (user_id, file_name, bytes) VALUES ($1, $2, $3) RETURNING id',
    [req.user.id, req.file.originalname, req.file.size],
  );
  res.status(201).json({ id: rows[0].id, name: req.file.originalname, size: req.file.size });
});

app.get('/admin/users', authenticate, async (req, res) => {
  if (req.user.role !== 'admin') {
    return res.status(403).json({ error: 'Forbidden' });
  }
  const { rows } = await db.query('SELECT * FROM users ORDER BY id LIMIT 100');
  res.json({ users: rows.map(publicUser) });
});

app.get('/health', (req, res) => res.json({ ok: true }));

// eslint-disable-next-line no-unused-vars
app.use((err, req, res, next) => {
  console.error(err);
  res.status(err.status || 500).json({ error: err.status ? err.message : 'Internal server error' });
});

module.exports = app;
