// Collects the third-party browser bundles that the broker serves (spec §7) into dist/vendor/, with
// manifest.json (served path → file) for the server to embed. Nothing of this is ever committed.
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const modules = new URL('../node_modules/', import.meta.url);
const out = new URL('../dist/vendor/', import.meta.url);

// Both stand unchanged, as published: programs compare them with the official files.
const socketIo = ['socket.io.js', 'socket.io.min.js', 'socket.io.esm.min.js', 'socket.io.msgpack.min.js'];
const streams = '@sap_oss/node-socketio-stream/node-socketio-stream.js';
const packages = ['socket.io-client', '@sap_oss/node-socketio-stream', 'uuid'];

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });

const manifest = {};
for (const name of socketIo.flatMap((file) => [file, `${file}.map`])) {
  await copyFile(new URL(`socket.io-client/dist/${name}`, modules), new URL(name, out));
  manifest[`/socket.io/${name}`] = name;
}
manifest['/public/socket.io.js'] = 'socket.io.js';
manifest['/lib/Socket.io/socket.io.js'] = 'socket.io.esm.min.js';

await copyFile(new URL(streams, modules), new URL('node-socketio-stream.js', out));
manifest['/lib/@sap_oss/node-socketio-stream.js'] = 'node-socketio-stream.js';

// The package is many small modules; clients import one file by URL.
await build({
  configFile: false,
  logLevel: 'warn',
  build: {
    outDir: fileURLToPath(out),
    emptyOutDir: false,
    target: 'es2020',
    lib: { entry: fileURLToPath(new URL('uuid/dist/index.js', modules)), formats: ['es'], fileName: () => 'uuid.js' },
  },
});
manifest['/lib/uuid/uuid.js'] = 'uuid.js';

const notices = await Promise.all(packages.map(notice));
await writeFile(new URL('THIRD-PARTY.txt', out), notices.join('\n'));
await writeFile(new URL('manifest.json', out), `${JSON.stringify(manifest, null, 2)}\n`);

/** Name, version and licence text of one package, as its licence asks of whoever passes it on. */
async function notice(name) {
  const { version, license } = JSON.parse(await readFile(new URL(`${name}/package.json`, modules), 'utf8'));
  const text = await Promise.any(
    ['LICENSE', 'LICENSE.md'].map((file) => readFile(new URL(`${name}/${file}`, modules), 'utf8')),
  );
  return `${name} ${version} (${license})\n\n${text.trim()}\n\n${'-'.repeat(72)}\n`;
}
