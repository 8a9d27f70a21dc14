import vue from '@vitejs/plugin-vue';
import { defineConfig } from 'vite';

const host = '127.0.0.1';

export default defineConfig({ plugins: [vue()], server: { host }, preview: { host, port: 5173 } });
