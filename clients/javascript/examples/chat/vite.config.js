import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

const server = process.env.SERVER ?? 'http://localhost:8400'; // server.mjs

export default defineConfig({
  plugins: [react()],
  // The library is a link to this repository, which has packages of its own.
  resolve: { dedupe: ['react', 'react-dom', 'ai', 'ably'] },
  server: { proxy: Object.fromEntries(['/chat', '/turns', '/v1', '/token', '/config.json'].map((path) => [path, server])) },
});
