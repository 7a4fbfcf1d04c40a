import { defineConfig } from 'vitest/config';

// One script with fixed names: SillyTavern finds them in manifest.json, which lies in public/ with
// everything else that is copied as it is.
export default defineConfig({
  build: {
    target: 'es2022',
    license: { fileName: 'THIRD-PARTY.md' },
    lib: { entry: 'src/index.ts', formats: ['es'], fileName: () => 'index.js' },
  },
  test: { include: ['test/**/*.test.ts'] },
});
