// Every release of the client × every transport × both stream names × every text: each byte, in
// order, once (spec §5.5, §5.6; appendix B point 3).
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { startBroker } from './support/broker.mjs';
import { Client, Inbox, RELEASES, STREAM_NAMES, TRANSPORTS } from './support/client.mjs';
import { expectedText, Extension } from './support/extension.mjs';
import { TEXTS } from './support/texts.mjs';
import { ask } from './support/wait.mjs';

const LAST = 'that was all';
let broker;
let extension;

before(async () => {
  broker = await startBroker();
  extension = new Extension(broker.url, {
    reply: ({ message }) => (message === LAST ? { message: LAST } : { tokens: TEXTS[message] }),
  });
  await extension.start();
});

after(async () => {
  extension?.stop();
  await broker?.stop();
});

for (const [release, io] of RELEASES) {
  for (const transport of Object.keys(TRANSPORTS)) {
    for (const streamName of STREAM_NAMES) {
      describe(`socket.io-client ${release}, ${transport}, ${streamName}`, () => {
        let client;
        let llm;
        let inbox;

        before(async () => {
          client = new Client(broker.url, { io, transport });
          llm = client.open('/llm');
          inbox = new Inbox(llm, streamName);
          // No waiting for the upgrade: the first answers run across it.
          await client.connect('/llm');
        });
        after(() => client.close());

        const request = async (message) => {
          const requestId = randomUUID();
          const ack = await ask(llm, 9, { target: extension.clientId, requestId, message });
          assert.deepEqual(ack, { status: 'ok', message: 'Request forwarded.' });
          return requestId;
        };

        for (const [name, tokens] of Object.entries(TEXTS)) {
          test(name, async () => {
            const expected = expectedText(tokens);
            const requestId = await request(name);
            assertSame(await inbox.text(requestId, expected), expected);
            for (const info of inbox.answer(requestId).streams) {
              assert.deepEqual(Object.keys(info).sort(), ['outputId', 'requestId', 'source', 'streamId']);
              assert.equal(info.source, 'server');
            }
            assert.equal(new Set(inbox.answer(requestId).streams.map((info) => info.outputId)).size, 1);
          });
        }

        test('nothing came twice, and nothing failed', async () => {
          if (transport === 'upgrade') await client.upgraded();
          const requestId = await request(LAST);
          const last = await inbox.when(requestId, (answer) => answer.messages.length > 0);
          assert.equal(last.messages[0].data, LAST);
          assert.equal(client.engine.transport.name, transport === 'polling' ? 'polling' : 'websocket');
          assert.equal(inbox.requestIds.length, Object.keys(TEXTS).length + 1);
          const texts = Object.values(TEXTS).map(expectedText);
          inbox.requestIds.slice(0, -1).forEach((id, index) => {
            const { chunks, errors, streamErrors, messages } = inbox.answer(id);
            assertSame(Buffer.concat(chunks).toString('utf8'), texts[index]);
            assert.deepEqual([errors, streamErrors, messages], [[], [], []]);
          });
        });
      });
    }
  }
}

/** Equality of long texts, with the place of the first difference instead of both texts. */
function assertSame(actual, expected) {
  if (actual === expected) return;
  let at = 0;
  while (actual[at] === expected[at]) at += 1;
  const around = (text) => JSON.stringify(text.slice(Math.max(0, at - 20), at + 20));
  assert.fail(`differs at ${at} of ${expected.length} (has ${actual.length}): ${around(actual)} instead of ${around(expected)}`);
}
