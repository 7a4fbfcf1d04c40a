// What a user of the extension relies on, in one SillyTavern. Every text is compared whole.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { after, afterEach, before, describe, test } from 'node:test';
import { keys } from './keys.mjs';
import { newage } from './support/broker.mjs';
import { text } from './support/client.mjs';
import { connect, openGroup, openPanel, openSeraphina, openTavern, part, ready, stateIs, stream } from './support/page.mjs';
import { TEXT, TOKENS } from './support/texts.mjs';
import { door } from './support/upstream.mjs';
import { within } from './support/wait.mjs';
import { SHOTS, World } from './support/world.mjs';

export function scenarios(alias, install) {
  describe(alias, { timeout: 240_000 }, () => {
    let world;
    let page;
    let app;
    let bot;
    let target;

    before(async () => {
      world = await World.start(alias, install);
      ({ page, app, bot, target } = world);
    }, { timeout: 180_000 });
    after(() => world?.stop(), { timeout: 60_000 });
    afterEach(() => {
      assert.deepEqual(page?.complaints, [], 'exceptions in the page');
    });

    describe('the panel', () => {
      test('connects, and says so', async () => {
        await openPanel(page);
        assert.equal(await part(page, 'state').textContent(), 'Not connected');
        assert.equal(await part(page, 'client-id').inputValue(), target);
        await connect(page, world.proxy.url);
        assert.equal(await part(page, 'state').textContent(), 'Connected, waiting for requests');
        const { extensions } = await app.lobby.emitWithAck('GET_SILLYTAVERN_EXTENSION', {});
        assert.deepEqual(extensions, [target]);
      });

      test('disconnects, and stays so', async () => {
        await part(page, 'connect').click();
        await stateIs(page, 'off');
        // The page knows it first, then the broker.
        const list = async () => (await app.lobby.emitWithAck('GET_SILLYTAVERN_EXTENSION', {})).extensions;
        const gone = async () => {
          while ((await list()).length > 0);
        };
        await within(gone(), () => 'the extension to leave the list');
        await part(page, 'connect').click();
        await world.idle();
      });

      test('says why the broker refuses, and connects once the reason is gone', async () => {
        await part(page, 'client-id').fill('SillyTavern-stranger');
        await part(page, 'client-id').press('Tab');
        await stateIs(page, 'refused');
        assert.match(await part(page, 'state').textContent(), /not trusted/);
        assert.match(await part(page, 'errors').textContent(), /not trusted/);
        await part(page, 'client-id').fill(target);
        await part(page, 'client-id').press('Tab');
        await world.idle();
        await part(page, 'errors-clear').click();
        assert.equal(await part(page, 'errors-block').isVisible(), false);
      });

      test('makes a key for another program, and revokes it', async () => {
        await part(page, 'key-client').fill('bot');
        await part(page, 'key-generate').click();
        await part(page, 'key-row').waitFor();
        const key = await part(page, 'key-result').inputValue();
        assert.match(key, /^[0-9a-f-]{36}$/);
        await part(page, 'key-copy').click();
        await part(page, 'key-note').filter({ hasText: 'Copied.' }).waitFor();
        assert.equal(await page.evaluate(() => navigator.clipboard.readText()), key);
        await part(page, 'key-revoke').click();
        await part(page, 'key-note').filter({ hasText: 'bot has no key any more.' }).waitFor();
        await part(page, 'key-client').fill('nobody-at-all');
        await part(page, 'key-generate').click();
        await part(page, 'key-note').filter({ hasText: 'Client not found.' }).waitFor();
      });
    });

    describe('quiet', () => {
      test('streams as the model speaks, one stream, and leaves the chat alone', async () => {
        const before = await world.chat();
        const hold = door(4);
        world.model({ tokens: TOKENS, gate: hold.gate });
        const id = await app.ask(target, 'Good morning! <quiet>');
        // The first part is there while the model still speaks.
        await app.when(id, ({ streams }) => streams.length > 0 && text(streams[0]) === TOKENS.slice(0, 4).join(''));
        hold.open();
        assert.equal(await app.streamed(id), TEXT);
        const { streams } = app.answer(id);
        assert.ok(streams[0].chunks.length > 1, 'it came in parts');
        assert.deepEqual(await world.chat(), before);
        const { messages, stream: streamed } = world.upstream.requests.at(-1).body;
        assert.equal(streamed, true);
        assert.ok(messages.some(({ content }) => content === 'Good morning! <quiet>'), 'the prompt is in it');
        assert.ok(messages.some(({ content }) => content.includes('Seraphina')), 'so is the character');
      });

      test('without streaming is one message', async () => {
        const before = await world.chat();
        await stream(page, false);
        world.model({ tokens: TOKENS });
        const id = await app.ask(target, 'Whole, please.');
        assert.equal(await app.whole(id), TEXT);
        assert.equal(world.upstream.requests.at(-1).body.stream, false);
        await stream(page, true);
        assert.deepEqual(await world.chat(), before);
      });

      test('works without an open character', async () => {
        await page.evaluate(() => document.querySelector('#option_close_chat').click());
        await page.waitForFunction(() => window.SillyTavern.getContext().characterId === undefined);
        world.model({ tokens: TOKENS });
        assert.equal(await app.streamed(await app.ask(target, 'Nobody here?')), TEXT);
        const refused = await app.ask(target, 'Into which chat?', { mode: 'chat' });
        assert.equal(await app.failure(refused), 'No chat is open in SillyTavern.');
        await openSeraphina(page);
      });

      test('a long answer arrives whole', async () => {
        const tokens = Array.from({ length: 400 }, (_, index) => `${index} 山高水长😀🙂 `.repeat(20));
        world.model({ tokens });
        assert.equal(await app.streamed(await app.ask(target, 'Go on.')), tokens.join(''));
      });
    });

    describe('chat', () => {
      const spoken = (messages) => messages.map(({ is_user, mes }) => [is_user ? 'user' : 'character', mes]);
      // SillyTavern itself trims what it keeps.
      const KEPT = 'Hello 😀 你好';
      /** The user goes on writing while SillyTavern begins, and has not emptied the field yet. */
      const writeOnceBegun = () =>
        page.evaluate(() => {
          const { eventSource, eventTypes } = globalThis.SillyTavern.getContext();
          const begun = async (type, options, counting) => {
            if (counting) return;
            eventSource.removeListener(eventTypes.GENERATION_STARTED, begun);
            await globalThis.goOnWriting();
            // As if SillyTavern had just prepared another prompt, to count its tokens.
            await eventSource.emit(eventTypes.GENERATE_AFTER_DATA, { prompt: '' }, true);
          };
          eventSource.on(eventTypes.GENERATION_STARTED, begun);
        });

      test('question and answer are in the open chat, the answer streams', async () => {
        const before = (await world.chat()).length;
        const field = page.locator('#send_textarea');
        await field.fill('/echo a draft of mine');
        await page.exposeFunction('goOnWriting', () => field.pressSequentially(', and more of it'));
        await writeOnceBegun();
        world.model({ tokens: ['Hel', 'lo 😀', ' 你好'] });
        const id = await app.ask(target, 'How are you? {{user}} | /echo no', { mode: 'chat' });
        assert.equal(await app.streamed(id), KEPT);
        await world.idle();
        assert.deepEqual(spoken((await world.chat()).slice(before)), [
          ['user', 'How are you? {{user}} | /echo no'],
          ['character', KEPT],
        ]);
        await page.locator('#chat .last_mes .mes_text', { hasText: KEPT }).waitFor();
        assert.equal(await field.inputValue(), '/echo a draft of mine, and more of it');
        await field.fill('');
      });

      test('without streaming the answer is one message', async () => {
        const before = (await world.chat()).length;
        await stream(page, false);
        await writeOnceBegun();
        world.model({ tokens: ['all at ', 'once 😀'] });
        const id = await app.ask(target, 'And now?', { mode: 'chat' });
        assert.equal(await app.whole(id), 'all at once 😀');
        await stream(page, true);
        await world.idle();
        assert.deepEqual(spoken((await world.chat()).slice(before)), [
          ['user', 'And now?'],
          ['character', 'all at once 😀'],
        ]);
        assert.equal(await page.locator('#send_textarea').inputValue(), ', and more of it');
        await page.locator('#send_textarea').fill('');
      });

      test('regenerate replaces the last answer', async () => {
        const before = spoken(await world.chat());
        world.model({ tokens: ['another ', 'one 🎲'] });
        const id = await bot.ask(target, '', { requestType: 'regenerateMessage' });
        assert.equal(await bot.streamed(id), 'another one 🎲');
        await world.idle();
        assert.deepEqual(spoken(await world.chat()), [...before.slice(0, -1), ['character', 'another one 🎲']]);
      });
    });

    describe('requests', () => {
      test('three of two programs, one at a time, in order; the panel shows them', async () => {
        const hold = door(0);
        let now = 0;
        let most = 0;
        world.model(({ messages }) => {
          now += 1;
          most = Math.max(most, now);
          const asked = messages.findLast(({ content }) => /^number \d$/.test(content)).content;
          const gate = async (index) => {
            if (asked === 'number 1') await hold.gate(index);
            if (index === 1) now -= 1;
          };
          return { tokens: [`answer to ${asked}`, ' 👍'], gate };
        });
        const first = await app.ask(target, 'number 1');
        await hold.reached;
        const second = await bot.ask(target, 'number 2');
        const third = await app.ask(target, 'number 3');
        await part(page, 'activity').filter({ hasText: '2 waiting' }).waitFor();
        assert.equal(await part(page, 'state').textContent(), 'Generating for app');
        assert.deepEqual(await part(page, 'queue').locator('li').allTextContents(), ['bot', 'app']);
        await page.screenshot({ path: `${SHOTS}${world.version}-generating.png` });
        hold.open();
        assert.equal(await app.streamed(first), 'answer to number 1 👍');
        assert.equal(await bot.streamed(second), 'answer to number 2 👍');
        assert.equal(await app.streamed(third), 'answer to number 3 👍');
        assert.equal(most, 1);
        await world.idle();
      });

      test('sent again after its answer, it is not generated again', async () => {
        world.model({ tokens: TOKENS });
        const id = await app.ask(target, 'once');
        assert.equal(await app.streamed(id), TEXT);
        await world.idle();
        const asked = world.asked;
        await app.ask(target, 'once', { requestId: id });
        const { streams } = await app.when(id, (answer) => answer.streams.length === 2 && answer.streams[1].ended);
        assert.equal(text(streams[1]), TEXT);
        assert.equal(world.asked, asked);
      });

      test('what the panel forbids is refused', async () => {
        await part(page, 'chat').uncheck();
        const id = await app.ask(target, 'hello', { mode: 'chat' });
        assert.equal(await app.failure(id), 'Access denied: chat mode is switched off in SillyTavern.');
        await part(page, 'chat').check();
        await part(page, 'default-mode').selectOption('chat');
        const before = (await world.chat()).length;
        world.model({ tokens: ['in the chat'] });
        assert.equal(await app.streamed(await app.ask(target, 'hello')), 'in the chat');
        await world.idle();
        assert.equal((await world.chat()).length, before + 2);
        await part(page, 'default-mode').selectOption('quiet');
      });
    });

    describe('failures reach the one who asked', () => {
      for (const mode of ['quiet', 'chat']) {
        for (const streaming of [true, false]) {
          test(`the model fails: ${mode}, ${streaming ? 'streaming' : 'whole'}`, async () => {
            await stream(page, streaming);
            world.model({ error: 'the model is on fire 🔥', status: 500 });
            const reason = await app.failure(await app.ask(target, 'fail', { mode }));
            assert.match(reason, /status 500|Internal Server Error|on fire/);
            world.model({ tokens: ['after', ' all'] });
            const next = await app.ask(target, 'and now');
            assert.equal(await (streaming ? app.streamed(next) : app.whole(next)), 'after all');
            await stream(page, true);
            await world.idle();
          });
        }

        test(`stop in the page: ${mode}`, async () => {
          const hold = door(2);
          world.model({ tokens: ['one ', 'two ', 'three '], gate: hold.gate });
          const id = await app.ask(target, 'Do not stop.', { mode });
          await hold.reached;
          await app.when(id, ({ streams }) => streams.length === 1 && text(streams[0]) === 'one two ');
          await page.locator('#mes_stop').click();
          assert.equal(await app.failure(id), 'The generation was stopped in SillyTavern.');
          hold.open();
          await world.idle();
          assert.notEqual(app.answer(id).streams[0].failed, null);
          world.model({ tokens: ['go on'] });
          assert.equal(await app.streamed(await app.ask(target, 'Go on.')), 'go on');
        });
      }

      test('the model breaks off, or says nothing', async () => {
        world.model({ tokens: ['one ', 'two ', 'three '], breakAfter: 2 });
        assert.notEqual(await app.failure(await app.ask(target, 'break')), '');
        world.model({ tokens: [''] });
        assert.equal(await app.failure(await app.ask(target, 'nothing')), 'SillyTavern got an empty answer.');
        await world.idle();
      });

      test('SillyTavern has no API', async () => {
        const use = (api) =>
          page.evaluate((name) => {
            const select = document.querySelector('#main_api');
            select.value = name;
            select.dispatchEvent(new Event('change', { bubbles: true }));
            if (name === 'openai') document.querySelector('#api_button_openai').click();
          }, api);
        await use('novel');
        await page.waitForFunction(() => window.SillyTavern.getContext().onlineStatus === 'no_connection');
        assert.equal(await app.failure(await app.ask(target, 'hello?')), 'SillyTavern is not connected to an API.');
        await world.tavern.hasSaved('novel');
        await use('openai');
        await page.waitForFunction(() => window.SillyTavern.getContext().onlineStatus !== 'no_connection');
        await world.tavern.hasSaved('openai');
        await openPanel(page);
      });
    });

    describe('functions', () => {
      const result = async (...call) => {
        const reply = await app.call(target, ...call);
        assert.equal(reply.success, true, JSON.stringify(reply));
        return reply.result;
      };
      const denial = async (...call) => {
        const reply = await app.call(target, ...call);
        assert.equal(reply.success, false, JSON.stringify(reply));
        return reply.error.message;
      };

      test('that change nothing are on', async () => {
        assert.deepEqual(await result('listCharacters'), [{ name: 'Seraphina', avatar: 'default_Seraphina.png' }]);
        const open = await result('getCurrentChat');
        assert.equal(open.character, 'Seraphina');
        assert.equal(open.messages, (await world.chat()).length);
        const [last] = (await world.chat()).slice(-1);
        const recent = await result('getRecentMessages', 3);
        assert.equal(recent.length, 3);
        assert.equal(recent[2].text, last.mes);
        assert.equal(await denial('getRecentMessages', 'all'), 'Invalid arguments.');
        assert.equal(await denial('eval', '1'), 'Function "eval" not found.');
        assert.equal(await denial('toString'), 'Function "toString" not found.');
      });

      test('that change something are off, until they are switched on', async () => {
        await openPanel(page);
        const off = (name) => `Access denied: "${name}" is switched off in SillyTavern.`;
        for (const name of ['switchCharacter', 'sendSystemNote', 'runSlashCommand']) {
          assert.equal(await denial(name, 'x'), off(name));
          await part(page, `function-${name}`).check();
        }
        assert.equal(await denial('switchCharacter', 'Nobody'), 'There is no character "Nobody".');
        assert.deepEqual(await result('switchCharacter', 'seraphina'), { name: 'Seraphina', avatar: 'default_Seraphina.png' });
        await result('sendSystemNote', 'a note 📝 <img src=x onerror="document.title=1">');
        assert.deepEqual((await world.chat()).at(-1), {
          name: 'NewAge',
          is_user: false,
          is_system: true,
          mes: 'a note 📝 <img src=x onerror="document.title=1">',
        });
        await page.locator('#chat .last_mes .mes_text', { hasText: 'a note 📝' }).waitFor();
        assert.equal(await page.locator('#chat [onerror]').count(), 0);
        // A note is no answer that could be replaced.
        const before = await world.chat();
        const id = await bot.ask(target, '', { requestType: 'regenerateMessage' });
        assert.equal(await bot.failure(id), 'The last message of the chat is not an answer.');
        assert.deepEqual(await world.chat(), before);
        assert.deepEqual(await result('runSlashCommand', '/echo hello'), { pipe: 'hello' });
        assert.match(await denial('runSlashCommand', '/setvar key=x 1'), /not on the list/);
        assert.match(await denial('runSlashCommand', '/echo x | /setvar key=x 1'), /pipes/);
        for (const name of ['switchCharacter', 'sendSystemNote', 'runSlashCommand']) {
          await part(page, `function-${name}`).uncheck();
          assert.equal(await denial(name, 'x'), off(name));
        }
      });
    });

    describe('what breaks', () => {
      test('the network, in the middle of an answer: it comes again, whole', async () => {
        const hold = door(4);
        world.model({ tokens: TOKENS, gate: hold.gate });
        const asked = world.asked;
        const id = await app.ask(target, 'Do not mind the network.');
        await hold.reached;
        await app.when(id, ({ streams }) => streams.length > 0 && text(streams[0]).length > 0);
        world.proxy.cut();
        await app.when(id, ({ streams }) => streams[0].failed !== null);
        hold.open();
        const { streams, errors } = await app.when(id, (answer) => answer.streams.some(({ ended }) => ended));
        assert.deepEqual(errors, []);
        assert.equal(streams.length, 2);
        assert.equal(text(streams[1]), TEXT);
        assert.equal(world.asked, asked + 1);
        await world.idle();
      });

      test('the user disconnects, and connects again: whoever waits is answered', async () => {
        const hold = door(0);
        world.model({ tokens: TOKENS, gate: hold.gate });
        const running = await app.ask(target, 'Do not mind me.');
        await hold.reached;
        const waiting = await bot.ask(target, 'Me neither.');
        await part(page, 'activity').filter({ hasText: '1 waiting' }).waitFor();
        await part(page, 'connect').click();
        await part(page, 'activity').filter({ hasText: 'Still generating for app' }).waitFor();
        await part(page, 'connect').click();
        await part(page, 'state').filter({ hasText: 'Generating for app' }).waitFor();
        hold.open();
        assert.equal(await app.streamed(running), TEXT);
        assert.equal(await bot.streamed(waiting), TEXT);
        await world.idle();
      });

      test('the user connects under another URL: whoever waits is told, and may ask again', async () => {
        const hold = door(0);
        world.model({ tokens: TOKENS, gate: hold.gate });
        const asked = world.asked;
        const running = await app.ask(target, 'Another way, please.');
        await hold.reached;
        const waiting = await bot.ask(target, 'For me as well.');
        await part(page, 'activity').filter({ hasText: '1 waiting' }).waitFor();
        await part(page, 'url').fill(world.broker.url);
        await part(page, 'url').press('Tab');
        const told = 'SillyTavern was disconnected from the broker.';
        assert.equal(await app.failure(running), told);
        assert.equal(await bot.failure(waiting), told);
        await app.ask(target, 'Another way, please.', { requestId: running });
        hold.open();
        const { streams } = await app.when(running, (answer) => answer.streams.some(({ ended }) => ended));
        assert.deepEqual(streams.map(text), [TEXT]);
        await world.idle();
        assert.equal(world.asked, asked + 1);
        await connect(page, world.proxy.url);
      });

      for (const mode of ['quiet', 'chat']) {
        test(`the broker, in the middle of an answer: ${mode}`, async () => {
          const before = (await world.chat()).length;
          const tokens = mode === 'chat' ? ['Hel', 'lo ', '😀', ' 你', '好'] : TOKENS;
          const hold = door(4);
          world.model({ tokens, gate: hold.gate });
          const asked = world.asked;
          const id = await app.ask(target, 'Do not mind the broker.', { mode });
          const forgotten = await bot.ask(target, 'I am forgotten.');
          await hold.reached;
          await world.broker.kill();
          await stateIs(page, 'generating');
          await world.broker.up();
          await Promise.all([app.connected(), bot.connected()]);
          await part(page, 'state').filter({ hasText: 'Generating for app' }).waitFor();
          // The program asks again, under the same id, as nobody else remembers it.
          await app.ask(target, 'Do not mind the broker.', { mode, requestId: id });
          const anew = await bot.ask(target, 'I ask again.');
          world.model({ tokens: ['for the bot'] });
          hold.open();
          const { streams } = await app.when(id, (answer) => answer.streams.some(({ ended }) => ended));
          assert.equal(text(streams.find(({ ended }) => ended)), tokens.join(''));
          assert.equal(await bot.streamed(anew), 'for the bot');
          assert.equal(world.asked, asked + 2);
          assert.deepEqual(bot.answer(forgotten).streams, []);
          await world.idle();
          assert.equal((await world.chat()).length, before + (mode === 'chat' ? 2 : 0));
        });
      }

      test('the page, reloaded: the waiting are told, and it is back by itself', async () => {
        const hold = door(0);
        world.model({ tokens: TOKENS, gate: hold.gate });
        const running = await app.ask(target, 'Do not reload.');
        await hold.reached;
        const waiting = await bot.ask(target, 'Me neither.');
        await part(page, 'activity').filter({ hasText: '1 waiting' }).waitFor();
        await page.reload();
        // By the page as it goes or as it comes back, or by the broker, which waits a while for it.
        const told = /tab was (closed or )?reloaded|Target client disconnected/;
        assert.match(await app.failure(running), told);
        assert.match(await bot.failure(waiting), told);
        hold.open();
        await ready(page);
        await world.idle();
        world.model({ tokens: TOKENS });
        assert.equal(await app.streamed(await app.ask(target, 'Are you back?')), TEXT);
        await openSeraphina(page);
        await openPanel(page);
      });
    });

    test('two tabs answer once, also when the broker forgets who was asked', async () => {
      const other = await openTavern(world.context, world.tavern);
      await world.idle(other);
      // What one of them forbids, both do.
      await openPanel(other);
      await part(page, 'function-listCharacters').uncheck();
      await other.waitForFunction(() => !document.querySelector('[data-newage="function-listCharacters"]').checked);
      assert.equal((await app.call(target, 'listCharacters')).success, false);
      // So does what SillyTavern saves of the other one, all of it, whenever something changes there.
      const saved = () => globalThis.SillyTavern.getContext().extensionSettings['newage-broker'].functions.listCharacters;
      assert.equal(await other.evaluate(saved), false);
      await part(page, 'function-listCharacters').check();

      world.model({ tokens: TOKENS });
      const asked = world.asked;
      assert.equal(await app.streamed(await app.ask(target, 'Which of you?')), TEXT);
      assert.equal(world.asked, asked + 1);

      const hold = door(4);
      world.model({ tokens: TOKENS, gate: hold.gate });
      const id = await app.ask(target, 'And now?');
      await hold.reached;
      const busy = await other.evaluate(() => document.querySelector('#newage-broker').dataset.state === 'generating');
      const [answering, idle] = busy ? [other, page] : [page, other];
      await world.broker.kill();
      await world.broker.up();
      await app.connected();
      await part(answering, 'state').filter({ hasText: 'Generating for app' }).waitFor({ state: 'attached' });
      await world.idle(idle);
      // A tab that is back tells whoever waits that it has given up what it was asked; then it is asked anew.
      await answering.waitForFunction(() => sessionStorage.getItem('newage-broker.unfinished') === '[]');
      // The tab that connects last is the one that the broker asks: the one that is not answering.
      await idle.evaluate(async () => {
        const press = () => document.querySelector('#newage-broker [data-newage=connect]').click();
        press();
        press();
      });
      await world.idle(idle);
      await app.ask(target, 'And now?', { requestId: id });
      hold.open();
      const { streams } = await app.when(id, (answer) => answer.streams.some(({ ended }) => ended));
      assert.deepEqual(streams.filter(({ ended }) => ended).map(text), [TEXT]);
      assert.equal(world.asked, asked + 2);
      assert.deepEqual(other.complaints, []);
      await other.close();
      await world.idle();
    });

    keys(() => world);

    test('a group answers one after the other; what the user writes meanwhile is not said', async () => {
      await openGroup(page, ['Seraphina', 'Second']);
      const field = page.locator('#send_textarea');
      await field.fill('a');
      const [first, second] = [door(1), door(1)];
      const doors = [first, second];
      world.model(() => ({ tokens: ['Hel', 'lo'], gate: doors.shift()?.gate }));
      const before = (await world.chat()).length;
      const id = await app.ask(target, 'Hello, both of you.', { mode: 'chat' });
      await first.reached;
      await field.pressSequentially(' draft');
      first.open();
      await second.reached;
      await field.pressSequentially(' of mine');
      second.open();
      assert.equal(await app.streamed(id), 'HelloHello');
      await world.idle();
      assert.deepEqual((await world.chat()).slice(before).map(({ name, mes }) => [name, mes]), [
        ['Tester', 'Hello, both of you.'],
        ['Seraphina', 'Hello'],
        ['Second', 'Hello'],
      ]);
      assert.equal(await field.inputValue(), 'a draft of mine');
      await field.fill('');
      await openSeraphina(page);
    });

    test('in Chinese, in another browser', async () => {
      const context = await world.browser.newContext({ viewport: { width: 1280, height: 1300 }, locale: 'zh-CN' });
      try {
        const chinese = await openTavern(context, world.tavern);
        await world.idle(chinese);
        await openPanel(chinese);
        assert.equal(await part(chinese, 'state').textContent(), '已连接，等待请求');
        assert.equal(await chinese.locator('#newage-broker label', { hasText: '静默：作答而不改动聊天' }).count(), 1);
        await chinese.screenshot({ path: `${SHOTS}${world.version}-zh.png` });
        assert.deepEqual(chinese.complaints, []);
      } finally {
        await context.close();
      }
    });

    test('a text completion API streams too, quietly and in the chat', async () => {
      // The last test that uses the page: it leaves SillyTavern with other settings.
      await page.evaluate((url) => {
        Object.assign(window.SillyTavern.getContext().textCompletionSettings, {
          type: 'generic',
          streaming: true,
          server_urls: { generic: url },
        });
        const select = document.querySelector('#main_api');
        select.value = 'textgenerationwebui';
        select.dispatchEvent(new Event('change', { bubbles: true }));
        document.querySelector('#api_button_textgenerationwebui').click();
      }, world.upstream.url.replace('/v1', ''));
      await page.waitForFunction(() => window.SillyTavern.getContext().onlineStatus !== 'no_connection');
      const before = (await world.chat()).length;
      world.model({ tokens: TOKENS });
      assert.equal(await app.streamed(await app.ask(target, 'Complete me.')), TEXT);
      assert.match(world.upstream.requests.at(-1).body.prompt, /Complete me\./);
      assert.equal((await world.chat()).length, before);
      world.model({ tokens: ['Hel', 'lo 😀'] });
      assert.equal(await app.streamed(await app.ask(target, 'Once more.', { mode: 'chat' })), 'Hello 😀');
      await world.idle();
      assert.equal((await world.chat()).length, before + 2);
      await page.evaluate(() => (window.SillyTavern.getContext().textCompletionSettings.streaming = false));
      assert.equal(await app.whole(await app.ask(target, 'In one piece.')), 'Hello 😀');
    });

    test('uninstalled, nothing is left', async () => {
      const folder = /installed in (.*)\n/.exec(world.installed.stdout)[1];
      assert.ok(existsSync(folder));
      await newage('extension', 'uninstall', ...world.where);
      assert.equal(existsSync(folder), false);
    });
  });
}
