// The browser bundles that the broker serves, in a real browser, and the monitor page.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startBroker } from './support/broker.mjs';
import { launch, noBrowser, openPage } from './support/browser.mjs';
import { STREAM_NAMES, TRANSPORTS } from './support/client.mjs';
import { expectedText, Extension } from './support/extension.mjs';
import { TEXTS } from './support/texts.mjs';

const OUT = fileURLToPath(new URL('out/', import.meta.url));
const skip = noBrowser();

describe('browser', { skip }, () => {
  let browser;
  before(async () => {
    await mkdir(OUT, { recursive: true });
    browser = await launch();
  });
  after(() => browser?.close());

  describe('bundles', () => {
    let broker;
    let extension;
    let opened;
    before(async () => {
      broker = await startBroker();
      extension = new Extension(broker.url, { reply: ({ message }) => ({ tokens: TEXTS[message] }) });
      await extension.start();
      opened = await openPage(browser);
      // Any page of the broker's own origin does; the bundles are put into it.
      await opened.page.goto(`${broker.url}/`);
      await opened.page.addScriptTag({ url: '/socket.io/socket.io.js' });
      await opened.page.addScriptTag({ url: '/lib/@sap_oss/node-socketio-stream.js' });
    });
    after(async () => {
      extension?.stop();
      await opened?.context.close();
      await broker?.stop();
    });

    for (const transport of Object.keys(TRANSPORTS)) {
      for (const streamName of STREAM_NAMES) {
        test(`${transport}, ${streamName}: every byte, in order, once`, async () => {
          const wanted = Object.entries(TEXTS).map(([name, tokens]) => [name, expectedText(tokens)]);
          const got = await opened.page.evaluate(collect, { transports: TRANSPORTS[transport], streamName, wanted });
          for (const [name, text] of wanted) assert.ok(got[name] === text, `${name}: ${JSON.stringify(got[name]?.slice(0, 200))}`);
          assert.deepEqual(opened.complaints, []);
        });
      }
    }

    test('modules that clients import by URL', async () => {
      const found = await opened.page.evaluate(async () => {
        const [constants, uuid, socketIo] = await Promise.all([
          import('/lib/constants.js'),
          import('/lib/uuid/uuid.js'),
          import('/lib/Socket.io/socket.io.js'),
        ]);
        return {
          request: constants.MSG_TYPE.LLM_REQUEST,
          start: constants.STREAM_EVENTS.START,
          llm: constants.NAMESPACES.LLM,
          uuid: uuid.v4(),
          io: typeof socketIo.io,
        };
      });
      assert.match(found.uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
      assert.deepEqual({ ...found, uuid: '' }, { request: 9, start: 'CLIENT_STREAM_START', llm: '/llm', uuid: '', io: 'function' });
      assert.deepEqual(opened.complaints, []);
    });
  });

  test('every served bundle is there, with its type', async () => {
    const broker = await startBroker();
    try {
      const files = ['socket.io.js', 'socket.io.min.js', 'socket.io.esm.min.js', 'socket.io.msgpack.min.js'];
      const scripts = [
        ...files.map((file) => `/socket.io/${file}`),
        '/public/socket.io.js',
        '/lib/Socket.io/socket.io.js',
        '/lib/uuid/uuid.js',
        '/lib/@sap_oss/node-socketio-stream.js',
        '/lib/constants.js',
      ];
      for (const path of scripts) {
        const response = await fetch(broker.url + path);
        assert.equal(response.status, 200, path);
        assert.match(response.headers.get('content-type'), /^application\/javascript/, path);
        assert.ok((await response.text()).length > 200, path);
      }
      for (const file of files) assert.equal((await fetch(`${broker.url}/socket.io/${file}.map`)).status, 200, file);
      assert.equal((await fetch(`${broker.url}/dist/index.js`)).status, 404);
    } finally {
      await broker.stop();
    }
  });

  describe('monitor page', () => {
    const languages = { en: ['en-GB', 'Connected', 'Answered', '中文'], zh: ['zh-CN', '已连接', '已回答', 'English'] };

    for (const [language, [locale, online, answered, other]] of Object.entries(languages)) {
      test(`one prompt, one streamed answer: ${language}`, async () => {
        const broker = await startBroker({ demo: true });
        const { context, page, complaints } = await openPage(browser, {
          locale,
          viewport: { width: 1200, height: 800 },
          colorScheme: language === 'en' ? 'light' : 'dark',
        });
        try {
          await page.goto(`${broker.url}/`);
          const id = (name) => page.getByTestId(name);
          await id('status').filter({ hasText: online }).waitFor();
          await id('extensions').getByText('SillyTavern-demo').waitFor();
          assert.equal(await id('extension-select').inputValue(), 'SillyTavern-demo');
          assert.equal(await id('lang').textContent(), other);

          // Counts the steps in which the answer grows: it must come token by token.
          await page.evaluate(() => {
            window.lengths = new Set();
            new MutationObserver(() => {
              const text = document.querySelector('[data-testid=answer]')?.textContent ?? '';
              window.lengths.add(text.length);
            }).observe(document.querySelector('#log'), { subtree: true, childList: true, characterData: true });
          });
          await id('prompt').fill('Hello 你好 😀');
          await id('prompt').press('Enter');
          await id('answer-state').filter({ hasText: answered }).waitFor();
          const answer = await id('answer').textContent();
          assert.ok(answer.length > 0);
          assert.ok(!answer.includes('\ufffd'), 'a character was cut');
          assert.ok(await page.evaluate(() => window.lengths.size) > 3, 'the answer did not stream');
          assert.equal(await id('prompt').inputValue(), '');
          assert.equal(await id('error').isVisible(), false);
          await page.screenshot({ path: `${OUT}/monitor-${language}.png` });

          // The other language, kept over a reload.
          await id('lang').click();
          await id('lang').filter({ hasText: languages[language === 'en' ? 'zh' : 'en'][3] }).waitFor();
          await page.reload();
          await id('status').filter({ hasText: languages[language === 'en' ? 'zh' : 'en'][1] }).waitFor();
          assert.deepEqual(complaints, []);
        } finally {
          await context.close();
          await broker.stop();
        }
      });
    }

    test('several requests in flight, an error in words, extensions that come and go', async () => {
      const broker = await startBroker();
      const waiting = [];
      const extension = new Extension(broker.url, {
        reply: (request) => ({ script: async () => void waiting.push(request.requestId) }),
      });
      const { context, page, complaints } = await openPage(browser, { locale: 'en', viewport: { width: 420, height: 800 } });
      try {
        await page.goto(`${broker.url}/`);
        const id = (name) => page.getByTestId(name);
        await id('status').filter({ hasText: 'Connected' }).waitFor();
        await page.getByText('None is connected').waitFor();
        assert.equal(await id('send').isDisabled(), true);
        await extension.start();
        await id('extensions').getByText(extension.clientId).waitFor();

        await id('prompt').fill('one\ntwo');
        await id('prompt').press('Shift+Enter');
        assert.equal(await id('prompt').inputValue(), 'one\ntwo\n');
        await id('prompt').fill('first');
        await id('send').click();
        await id('prompt').fill('second');
        await id('send').click();
        await id('prompt').fill('third');
        await id('send').click();
        await id('answer-state').filter({ hasText: 'Waiting' }).nth(2).waitFor();
        assert.equal(waiting.length, 3);

        const [first, second, third] = waiting;
        const answer = (requestId) => page.locator(`[data-testid=answer][data-request-id="${requestId}"]`);
        extension.message('the second 🙂', { requestId: second });
        extension.stream(['the ', 'fir', 'st 你好'], { requestId: first });
        extension.error('model on fire', { requestId: third });
        await answer(first).filter({ hasText: 'the first 你好' }).waitFor();
        await answer(second).filter({ hasText: 'the second 🙂' }).waitFor();
        await id('answer-error').filter({ hasText: 'The broker reports: model on fire' }).waitFor();
        await page.screenshot({ path: `${OUT}/monitor-narrow.png` });

        extension.stop();
        await page.getByText('None is connected').waitFor();
        assert.deepEqual(complaints, []);
      } finally {
        extension.stop();
        await context.close();
        await broker.stop();
      }
    });

    test('a monitor that is not trusted is told so in words', async () => {
      const broker = await startBroker({ clients: [{ clientId: 'monitor', isTrust: false }] });
      const { context, page, complaints } = await openPage(browser, { locale: 'en' });
      try {
        await page.goto(`${broker.url}/`);
        await page.getByTestId('status').filter({ hasText: 'Refused by the broker' }).waitFor();
        await page.getByTestId('error').filter({ hasText: 'is not trusted' }).waitFor();
        assert.deepEqual(complaints, []);
      } finally {
        await context.close();
        await broker.stop();
      }
    });
  });
});

/** Runs in the page: asks for every text in turn, and collects what streams in. */
async function collect({ transports, streamName, wanted }) {
  const socket = io('/llm', { transports, forceNew: true, reconnection: false, auth: { clientType: 'web-app', clientId: 'frontendExample', key: 'getKey' } });
  const got = {};
  const answers = new Map();
  ss(socket).on(streamName, (stream, info) => {
    const answer = answers.get(info.requestId);
    answer.open += 1;
    stream.on('data', (chunk) => {
      answer.text += answer.decoder.decode(chunk, { stream: true });
      answer.check();
    });
    stream.on('end', () => {
      answer.open -= 1;
      answer.check();
    });
    stream.on('error', answer.reject);
  });
  await new Promise((resolve, reject) => {
    socket.on('connect', resolve);
    socket.on('connect_error', reject);
  });
  for (const [name, expected] of wanted) {
    const requestId = `browser ${crypto.randomUUID()}`;
    const answer = { open: 0, text: '', decoder: new TextDecoder(), check() {}, reject() {} };
    answers.set(requestId, answer);
    const done = new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${name}: ${answer.text.length} of ${expected.length} units, ${answer.open} streams open`)), 15_000);
      answer.reject = reject;
      answer.check = () => {
        if (answer.text.length < expected.length || answer.open > 0) return;
        clearTimeout(timer);
        resolve();
      };
    });
    socket.emit(9, { target: 'SillyTavern-8000', requestId, message: name });
    await done;
  }
  // Read only now: what came too much during later requests shows as well.
  [...answers.values()].forEach((answer, index) => {
    got[wanted[index][0]] = answer.text;
  });
  socket.disconnect();
  return got;
}
