// What an extension may send besides the plain stream: the spellings and the slips of spec §5.3, §5.4,
// §5.8, §5.9, and its start sequence (§3.5).
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { startBroker } from './support/broker.mjs';
import { Client, Inbox } from './support/client.mjs';
import { expectedText, Extension, pieces } from './support/extension.mjs';
import { TEXTS } from './support/texts.mjs';
import { ask } from './support/wait.mjs';

test('the simulated extension cuts tokens as the published one does', () => {
  const table = [
    ['', ['', '', '', '', '']],
    [' a', [' ', 'a', '', '', '']],
    ['Hello!', ['He', 'll', 'o!', '', '']],
    ['😀', ['\ud83d', '\ude00', '', '', '']],
  ];
  for (const [text, cut] of table) assert.deepEqual(pieces(text), cut);
});

const VARIANTS = {
  'numeric events': {},
  'named events, no requestId': { dialect: 2 },
  'numeric events, no requestId': { omitRequestId: true },
  'numeric events over polling with upgrade': { transport: 'upgrade' },
  'named events over polling': { dialect: 2, transport: 'polling' },
};

for (const [name, options] of Object.entries(VARIANTS)) {
  describe(name, () => {
    let broker;
    let extension;
    let client;
    let inbox;
    let llm;
    let acks;
    before(async () => {
      broker = await startBroker();
      extension = new Extension(broker.url, { ...options, randomMessageId: true, reply: ({ message }) => message });
      acks = await extension.start();
      client = new Client(broker.url);
      llm = client.open('/llm');
      inbox = new Inbox(llm, 'streamed_data');
      await client.connect('/llm');
    });
    after(async () => {
      client?.close();
      extension?.stop();
      await broker?.stop();
    });

    const request = async (message) => {
      const requestId = randomUUID();
      assert.equal((await ask(llm, 9, { target: extension.clientId, requestId, message })).status, 'ok');
      return requestId;
    };

    test('the start sequence gets every ack that it waits for', () => {
      for (const [ack, id] of [[acks.rememberMe, 'checkRememberMe'], [acks.networkSafe, 'loadNetworkSafeSetting']]) {
        assert.equal(ack.requestId, id);
        assert.equal(ack.success, true);
        assert.equal(ack.result.success, true);
      }
      assert.equal(acks.rememberMe.result.result.Remember_me, true);
      assert.equal(acks.networkSafe.result.result.networkSafe, true);
      assert.ok(['ok', 'warning'].includes(acks.identify.status), JSON.stringify(acks.identify));
      assert.ok(acks.identify.key);
      assert.equal(acks.keys.status, 'ok');
      assert.equal(acks.clients.status, 'ok');
      assert.ok(Array.isArray(acks.clients.clients));
      // A bare array for numeric events; the named ones have both spellings (spec §1.3, §4.9.2).
      assert.ok(Array.isArray(extension.dialect === 1 ? acks.rooms : (acks.rooms.rooms ?? acks.rooms)));
    });

    test('streamed, twice', async () => {
      for (const text of ['emoji cut in halves', 'Chinese']) {
        const requestId = await request({ tokens: TEXTS[text] });
        const expected = expectedText(TEXTS[text]);
        assert.equal(await inbox.text(requestId, expected), expected);
      }
    });

    test('a finished text as one stream', async () => {
      const text = `done: ${'完成😀'.repeat(200)}`;
      const requestId = await request({ finished: text });
      assert.equal(await inbox.text(requestId, text), text);
    });

    test('not streamed, under a requestId that the extension has just invented', async () => {
      const text = 'whole answer 😀\n';
      const requestId = await request({ message: text });
      const { messages } = await inbox.when(requestId, (answer) => answer.messages.length > 0);
      assert.equal(messages.length, 1);
      const { outputId, ...rest } = messages[0];
      assert.equal(typeof outputId, 'string');
      assert.deepEqual(rest, { type: 0, data: text, source: 'server', requestId });
    });

    test('a failure reaches the requester, and the next request is served', async () => {
      const failed = await request({ error: 'the model is on fire 🔥' });
      const { errors } = await inbox.when(failed, (answer) => answer.errors.length > 0);
      assert.equal(errors[0].message, 'the model is on fire 🔥');
      assert.equal(errors[0].requestId, failed);
      assert.ok([21, 'ERROR'].includes(errors[0].type));
      const requestId = await request({ tokens: ['after', ' all'] });
      assert.equal(await inbox.text(requestId, 'after all'), 'after all');
    });
  });
}
