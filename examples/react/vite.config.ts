import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// As CORS knows it: "localhost" would be another origin.
const host = '127.0.0.1';

export default defineConfig({ plugins: [react()], server: { host }, preview: { host, port: 5173 } });
