// python-socketio, sync and async, over both transports and in both spellings of the events.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startBroker } from './support/broker.mjs';
import { Extension } from './support/extension.mjs';
import { missing } from './support/need.mjs';
import { within } from './support/wait.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const venv = here('.venv/bin/python');
const python = process.env.NEWAGE_PYTHON ?? (existsSync(venv) ? venv : 'python3');
const there = spawnSync(python, ['-c', 'import socketio, aiohttp, requests, websocket']).status === 0;
const skip = missing(`what requirements.txt lists (${python})`, there);
const TEXT = 'Hello 你好 😀 from the extension\n';

describe('python-socketio', { skip }, () => {
  let broker;
  let extension;
  before(async () => {
    broker = await startBroker();
    extension = new Extension(broker.url, {
      reply: ({ message }) => (message === 'stream' ? { tokens: Array(40).fill(TEXT) } : { message: TEXT }),
    });
    await extension.start();
  });
  after(async () => {
    extension?.stop();
    await broker?.stop();
  });

  for (const flavour of ['sync', 'async']) {
    for (const transport of ['websocket', 'polling']) {
      for (const dialect of ['named', 'numeric']) {
        test(`${flavour}, ${transport}, ${dialect} events`, async () => {
          const child = spawn(python, [here('python_client.py'), broker.url, flavour, transport, dialect, extension.clientId]);
          const said = [];
          child.stdout.on('data', (chunk) => said.push(chunk));
          child.stderr.on('data', (chunk) => said.push(chunk));
          try {
            const [code] = await within(once(child, 'close'), 'the Python program ending', 60_000);
            assert.equal(code, 0, Buffer.concat(said).toString());
          } finally {
            child.kill('SIGKILL');
          }
        });
      }
    }
  }
});
