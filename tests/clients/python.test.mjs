// python-socketio, sync and async: every transport × both spellings of the events × both stream names, and
// every text through each.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startBroker } from './support/broker.mjs';
import { STREAM_NAMES, TRANSPORTS } from './support/client.mjs';
import { expectedText, Extension } from './support/extension.mjs';
import { missing } from './support/need.mjs';
import { TEXTS } from './support/texts.mjs';
import { within } from './support/wait.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const venv = here('.venv/bin/python');
const python = process.env.NEWAGE_PYTHON ?? (existsSync(venv) ? venv : 'python3');
const there = spawnSync(python, ['-c', 'import socketio, aiohttp, requests, websocket']).status === 0;
const skip = missing(`what requirements.txt lists (${python})`, there);
const expected = JSON.stringify(Object.fromEntries(Object.entries(TEXTS).map(([name, tokens]) => [name, expectedText(tokens)])));

describe('python-socketio', { skip }, () => {
  let broker;
  let extension;
  before(async () => {
    broker = await startBroker();
    extension = new Extension(broker.url, {
      reply: ({ message }) => (TEXTS[message] ? { tokens: TEXTS[message] } : { message }),
    });
    await extension.start();
  });
  after(async () => {
    extension?.stop();
    await broker?.stop();
  });

  const cases = ['sync', 'async'].flatMap((flavour) =>
    Object.keys(TRANSPORTS).flatMap((transport) => ['named', 'numeric'].flatMap((dialect) => STREAM_NAMES.map((streamName) => [flavour, transport, dialect, streamName]))),
  );
  for (const options of cases) {
    test(options.join(', '), async () => {
      const child = spawn(python, [here('python_client.py'), broker.url, ...options, extension.clientId]);
      const said = [];
      child.stdout.on('data', (chunk) => said.push(chunk));
      child.stderr.on('data', (chunk) => said.push(chunk));
      child.stdin.end(expected);
      try {
        const [code] = await within(once(child, 'close'), 'the Python program ending', 120_000);
        assert.equal(code, 0, Buffer.concat(said).toString());
      } finally {
        child.kill('SIGKILL');
      }
    });
  }
});
