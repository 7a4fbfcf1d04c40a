import { defineConfig } from 'vitest/config';

// `npm run dev` serves the page from Vite and takes everything else from a broker on this machine.
const broker = 'http://127.0.0.1:4000';

export default defineConfig({
  base: '/',
  build: {
    target: 'es2022',
    // A data: URL would need an exception in a strict content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: { '/socket.io': { target: broker, ws: true }, '/lib': broker },
  },
  test: { include: ['test/**/*.test.ts'] },
});
