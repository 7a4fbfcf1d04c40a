import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { generate, type Job } from '../src/generate';
import type { ChatMessage } from '../src/sillytavern';

type Listener = (...args: unknown[]) => unknown;

/** SillyTavern's input field. What a user does is trusted, what a script does is not. */
class Field {
  value = '';
  #listeners = new Set<Listener>();
  addEventListener(_: string, listener: Listener) {
    this.#listeners.add(listener);
  }
  removeEventListener(_: string, listener: Listener) {
    this.#listeners.delete(listener);
  }
  dispatchEvent({ isTrusted }: { isTrusted: boolean }) {
    for (const listener of this.#listeners) listener({ isTrusted });
  }
  type(text: string) {
    this.value += text;
    this.dispatchEvent({ isTrusted: true });
  }
  /** What SillyTavern says for the user, and empties. */
  take() {
    const taken = this.value;
    this.value = '';
    this.dispatchEvent({ isTrusted: false });
    return taken;
  }
}

const job: Job = { mode: 'chat', regenerate: false, text: 'Hello, all.', clientId: 'app' };
const said = (mes: string, is_user: boolean): ChatMessage => ({ name: '', is_user, is_system: false, mes });

let field: Field;
let chat: ChatMessage[];
let groupId: string | null;
let listeners: Map<string, Set<Listener>>;
/** SillyTavern's own part. */
let generating: (type: string) => Promise<unknown>;

const happens = async (event: string, ...args: unknown[]) => {
  for (const listener of listeners.get(event) ?? []) await listener(...args);
};
/** The others have their turn: the user, and the network. */
const moment = () => new Promise((resolve) => setTimeout(resolve, 0));

beforeEach(() => {
  field = new Field();
  chat = [said('Welcome.', false)];
  groupId = 'group';
  listeners = new Map();
  vi.stubGlobal('document', { body: { dataset: {} }, querySelector: () => field });
  const of = (event: string) => listeners.get(event) ?? listeners.set(event, new Set()).get(event)!;
  const context = {
    characterId: 0,
    name1: 'Tester',
    eventTypes: new Proxy({}, { get: (_, name) => name }),
    eventSource: {
      on: (event: string, listener: Listener) => of(event).add(listener),
      removeListener: (event: string, listener: Listener) => of(event).delete(listener),
      emit: happens,
    },
    addOneMessage: () => {},
    saveChat: async () => {},
    generate: (type: string) => generating(type),
  };
  vi.stubGlobal('SillyTavern', { getContext: () => ({ ...context, chat, groupId }) });
});

afterEach(() => {
  vi.unstubAllGlobals();
});

describe('the chat of a group', () => {
  let commands: string[];

  /** One generation: what is in the field is taken for commands, and after a look at the server for a message. */
  const turn = async (answer: string | null, speaking = () => {}) => {
    await happens('GENERATION_STARTED', 'normal', {}, false);
    commands.push(field.value);
    await moment();
    if (answer === null) return;
    const taken = field.take();
    if (taken !== '') chat.push(said(taken, true));
    await happens('GENERATE_AFTER_DATA', {}, false);
    speaking();
    chat.push(said(answer, false));
  };

  beforeEach(() => {
    commands = [];
  });

  test('what the user writes meanwhile is not said, and is there afterwards, once', async () => {
    field.value = 'a';
    generating = async () => {
      await turn(null);
      for (const answer of ['first', 'second', 'third']) {
        setTimeout(() => field.type(' draft,'));
        await turn(answer, () => field.type(' of mine'));
      }
    };
    const { text } = (await generate(job, () => {})) as { text: string };
    expect(text).toBe('first\n\nsecond\n\nthird');
    expect(chat.map(({ mes }) => mes)).toEqual(['Welcome.', 'Hello, all.', 'first', 'second', 'third']);
    expect(commands).toEqual(['', '', '', '']);
    expect(field.value).toBe(`a${' draft, of mine'.repeat(3)}`);
  });

  test('what the user writes stays in sight while a character speaks, also with the help of tools', async () => {
    generating = async () => {
      await turn('first');
      field.type('in sight');
      // To count tokens, and for somebody else: neither takes what is in the field.
      await happens('GENERATION_STARTED', 'normal', {}, true);
      await happens('GENERATION_STARTED', 'quiet', {}, false);
      expect(field.value).toBe('in sight');
      // Begun again with what a tool has brought, and the field is not looked at.
      await happens('GENERATION_STARTED', 'normal', {}, false);
      await happens('GENERATE_AFTER_DATA', {}, true);
      field.type(', and');
      expect(field.value).toBe('');
      await happens('GENERATE_AFTER_DATA', {}, false);
      field.type(' more');
      expect(field.value).toBe(' more');
    };
    await generate(job, () => {});
    expect(field.value).toBe('in sight, and more');
  });
});

describe('an answer is generated again', () => {
  const again = () => generate({ ...job, regenerate: true, text: '' }, () => {});

  beforeEach(() => {
    groupId = null;
    chat.push(said('How are you?', true), said('Fine.', false));
    // SillyTavern looks at nothing but whose it is.
    generating = async () => {
      if (!chat.at(-1)!.is_user) chat.pop();
      chat.push(said('Well.', false));
      return 'Well.';
    };
  });

  test('in place of the last one', async () => {
    expect(await again()).toEqual({ streamed: false, text: 'Well.' });
    expect(chat.map(({ mes }) => mes)).toEqual(['Welcome.', 'How are you?', 'Well.']);
  });

  test.each([
    ['a note comes after it', 'a note'],
    ['it is hidden', 'Fine.'],
  ])('but not if %s: nothing is deleted', async (_, last) => {
    if (last === 'a note') chat.push(said(last, false));
    chat.at(-1)!.is_system = true;
    const before = [...chat];
    await expect(again()).rejects.toThrow('The last message of the chat is not an answer.');
    expect(chat).toEqual(before);
  });
});
