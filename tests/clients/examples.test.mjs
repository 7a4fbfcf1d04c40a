// The programs of examples/, as they are, against a broker; and README.md, which shows two of them.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { copyFile, cp, mkdir, mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startBroker } from './support/broker.mjs';
import { launch, noBrowser, openPage } from './support/browser.mjs';
import { missing } from './support/need.mjs';
import { within } from './support/wait.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const examples = (path) => here(`../../examples/${path}`);
const venv = here('.venv/bin/python');
const python = process.env.NEWAGE_PYTHON ?? (existsSync(venv) ? venv : 'python3');
const noPython = missing(
  `what requirements.txt lists (${python})`,
  spawnSync(python, ['-c', 'import socketio, requests, websocket']).status === 0,
);
const STORY = 'You said: Tell me a story. 你好 😀';

let broker;
let programs;
let extension;
const run = new Set();

before(async () => {
  broker = await startBroker({ clients: [{ clientId: 'SillyTavern-8002', isTrust: true }] });
  programs = await install();
  extension = start(process.execPath, join(programs, 'extension.mjs'), broker.url, 'SillyTavern-8002');
  run.add('javascript/extension.mjs');
  await within(Promise.race([once(extension.lines, 'line'), extension.ended]), 'the extension being ready');
  assert.deepEqual(extension.said, ['SillyTavern-8002 is ready']);
});

after(async () => {
  extension?.child.kill('SIGKILL');
  await broker?.stop();
  if (programs) await rm(programs, { recursive: true, force: true });
});

/** A copy of the JavaScript examples beside the packages that their package.json names, as npm installs them. */
async function install() {
  const folder = await mkdtemp(join(tmpdir(), 'newage-examples-'));
  await cp(examples('javascript'), folder, { recursive: true, filter: (path) => !path.includes('node_modules') });
  await mkdir(join(folder, 'node_modules/@sap_oss'), { recursive: true });
  const ours = { 'socket.io-client': 'socket.io-client-4.8', '@sap_oss/node-socketio-stream': '@sap_oss/node-socketio-stream' };
  const { dependencies } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
  assert.deepEqual(Object.keys(dependencies).sort(), Object.keys(ours).sort());
  for (const [name, installed] of Object.entries(ours)) {
    const { version } = JSON.parse(await readFile(here(`node_modules/${installed}/package.json`), 'utf8'));
    assert.equal(dependencies[name], version, `${name}: the examples and the tests use the same release`);
    await symlink(here(`node_modules/${installed}`), join(folder, 'node_modules', name));
  }
  return folder;
}

function start(command, ...args) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, PYTHONIOENCODING: 'utf-8' } });
  const said = [];
  const complaints = [];
  const lines = createInterface({ input: child.stdout }).on('line', (line) => said.push(line));
  createInterface({ input: child.stderr }).on('line', (line) => complaints.push(line));
  return { child, lines, said, complaints, ended: once(child, 'close') };
}

/** What a program prints, once it has ended by itself and without a complaint. */
const output = (language, file, ...args) => outputOf(broker, language, file, ...args);

async function outputOf(broker, language, file, ...args) {
  run.add(`${language}/${file}`);
  const [command, path] = language === 'python' ? [python, examples(`python/${file}`)] : [process.execPath, join(programs, file)];
  const { child, said, complaints, ended } = start(command, path, broker.url, ...args);
  try {
    const [code] = await within(ended, () => `${file} ending; it said:\n${[...said, ...complaints].join('\n')}`, 60_000);
    assert.equal(code, 0, [...said, ...complaints].join('\n'));
    assert.deepEqual(complaints, []);
    return said;
  } finally {
    child.kill('SIGKILL');
  }
}

// They show all that comes, also what another program of their client has asked.
describe('one at a time', () => {
  test('javascript/ask.mjs', async () => {
    const said = (await output('javascript', 'ask.mjs')).join('\n');
    assert.match(said, /status: 'ok', message: 'Request forwarded.'/);
    assert.ok(said.includes(STORY), said);
  });

  test('python/ask.py', { skip: noPython }, async () => {
    const said = (await output('python', 'ask.py')).join('\n');
    assert.match(said, /'status': 'ok', 'message': 'Request received.'/);
    assert.ok(said.includes(STORY), said);
  });
});

describe('side by side', { concurrency: true }, () => {
  test('javascript/whole.mjs', async () => {
    const errors = 'error: Target client not found: SillyTavern-nowhere';
    assert.deepEqual(await output('javascript', 'whole.mjs'), [`answer: ${STORY}`, errors]);
    assert.deepEqual(await output('javascript', 'whole.mjs', 'fail'), ['error: The model is out of order.', errors]);
  });

  test('javascript/function.mjs', async () => {
    assert.deepEqual(await output('javascript', 'function.mjs', 'SillyTavern-8002'), [
      'add: 5',
      'missing: Function "nothing" not found.',
      'nobody: Target not found: SillyTavern-nowhere',
      'save: {"success":true}',
      'read: {"success":true,"result":{"text":"你好"}}',
      'forbidden: Access denied: File is restricted.',
    ]);
  });

  test('javascript/room.mjs', async () => {
    assert.deepEqual(await output('javascript', 'room.mjs'), [
      'members: monitor (master), frontendExample-anna (manager), frontendExample-ben (guest)',
      'typing: frontendExample-anna',
      'answer: "You said: I have a question.\\n\\nSo do I. 你好 😀"',
      'the same for both: true',
      "pages: 1 texts: [ 'I have a question.', 'So do I.' ]",
    ]);
  });

  test('python/plain.py', { skip: noPython }, async () => {
    const said = (await output('python', 'plain.py')).join('\n');
    assert.equal(said, `${STORY}\n(31 characters)\n\n(error: Target client not found: SillyTavern-nowhere)`);
  });

  test('python/function.py', { skip: noPython }, async () => {
    assert.deepEqual(await output('python', 'function.py', 'SillyTavern-8002'), [
      'add: 5',
      'missing: Function "nothing" not found.',
      'nobody: Target not found: SillyTavern-nowhere',
      "save: {'success': True}",
      "read: {'success': True, 'result': {'text': '你好'}}",
    ]);
  });

  test('python/room.py', { skip: noPython }, async () => {
    const said = await output('python', 'room.py');
    assert.ok(said.includes('frontendExample-ben reads frontendExample-anna: Hello, Ben!'), said.join('\n'));
    assert.deepEqual(said.slice(-1), ['the same for both: True']);
    assert.ok(said.includes('answer: You said: Hello, Ben! 你好 😀'), said.join('\n'));
  });
});

test('with the built-in demo alone', { skip: noPython }, async () => {
  const demo = await startBroker({ demo: true });
  try {
    const answered = async (language, file) => {
      const said = (await outputOf(demo, language, file)).join('\n');
      assert.match(said, /I am the demo extension/, file);
    };
    await answered('javascript', 'ask.mjs');
    const others = [['javascript', 'whole.mjs'], ['javascript', 'room.mjs'], ['python', 'plain.py'], ['python', 'room.py']];
    await Promise.all(others.map(([language, file]) => answered(language, file)));
  } finally {
    await demo.stop();
  }
});

test('javascript/page.html, served by the broker', { skip: noBrowser() }, async () => {
  run.add('javascript/page.html');
  await mkdir(join(broker.data, 'client'));
  await copyFile(examples('javascript/page.html'), join(broker.data, 'client/page.html'));
  const browser = await launch();
  try {
    const { page, complaints } = await openPage(browser);
    await page.goto(`${broker.url}/client/page.html`);
    await page.click('button');
    await page.waitForFunction((story) => document.querySelector('pre').textContent === story, STORY);
    assert.deepEqual(complaints, []);
  } finally {
    await browser.close();
  }
});

test('every example is run here', async () => {
  for (const language of ['javascript', 'python']) {
    for (const file of await readdir(examples(language))) {
      if (!/\.(mjs|html|py)$/.test(file)) continue;
      if (language === 'python' && noPython) continue;
      if (file.endsWith('.html') && noBrowser()) continue;
      assert.ok(run.has(`${language}/${file}`), `${language}/${file} is run by no test`);
    }
  }
});

test('README.md shows ask.mjs and ask.py as they are', async () => {
  const readme = await readFile(here('../../README.md'), 'utf8');
  for (const [fence, file] of [['js', 'javascript/ask.mjs'], ['python', 'python/ask.py']]) {
    const shown = new RegExp(`^\`\`\`${fence}\\n([^]*?)^\`\`\`$`, 'm').exec(readme)?.[1];
    assert.equal(shown, await readFile(examples(file), 'utf8'), file);
  }
});
