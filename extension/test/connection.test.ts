import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Connection, type Events, type Line, type State, type Target } from '../src/connection';

type Listener = (...args: unknown[]) => void;

class Emitter {
  #listeners = new Map<string, Listener[]>();
  on(event: string, listener: Listener) {
    this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), listener]);
  }
  removeAllListeners() {
    this.#listeners.clear();
  }
  /** It happens: everybody who listens hears of it. */
  fire(event: string, ...args: unknown[]) {
    for (const listener of this.#listeners.get(event) ?? []) listener(...args);
  }
}

/** A namespace as the client library shows it. What is emitted with an ack is answered by `reply`. */
class FakeSocket extends Emitter {
  connected = false;
  id: string | undefined;
  sent: unknown[][] = [];
  constructor(readonly auth: (send: (auth: object) => void) => void) {
    super();
  }
  connect() {}
  disconnect() {
    this.connected = false;
  }
  emit(...args: unknown[]) {
    this.sent.push(args);
  }
  timeout(ms: number) {
    return {
      emitWithAck: (event: string) => {
        this.sent.push([event]);
        return new Promise((resolve, reject) => {
          const answer = reply(event);
          if (answer !== undefined) resolve(answer);
          else setTimeout(() => reject(new Error('timeout')), ms);
        });
      },
    };
  }
  /** The broker accepts, once it is shown something. */
  async opens(id: string) {
    const shown = await new Promise<object>((send) => this.auth(send));
    [this.connected, this.id] = [true, id];
    this.fire('connect');
    return shown;
  }
  closes(reason: string) {
    [this.connected, this.id] = [false, undefined];
    this.fire('disconnect', reason);
  }
}

class FakeManager extends Emitter {
  sockets = new Map<string, FakeSocket>();
  engine = new Emitter();
  _readyState = 'closed';
  constructor() {
    super();
    managers.push(this);
  }
  socket(namespace: string, { auth }: { auth: FakeSocket['auth'] }) {
    const socket = new FakeSocket(auth);
    this.sockets.set(namespace, socket);
    return socket;
  }
  opens() {
    this._readyState = 'open';
    this.engine = new Emitter();
    this.fire('open');
  }
}

let managers: FakeManager[] = [];
/** What `/auth` answers; nothing, as a broker that does not know the question, if undefined. */
let reply: (event: string) => object | Promise<object> | undefined;

vi.mock('socket.io-client', () => ({ Manager: function () { return new FakeManager(); } }));

const target: Target = { url: 'http://broker:4000', clientId: 'SillyTavern-8000', identity: 'i', key: '', desc: '' };

let connection: Connection;
let states: State[];
let lines: Line[];
let calls: { payload: unknown; answer: (reply: object) => void }[];

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal('window', new EventTarget());
  vi.stubGlobal('document', new EventTarget());
  managers = [];
  reply = () => ({ status: 'ok', key: 'session key' });
  [states, lines, calls] = [[], [], []];
  connection = new Connection({
    state: (state) => states.push(state),
    up: (line) => lines.push(line),
    down: () => {},
    request: () => {},
    call: (payload, answer) => calls.push({ payload, answer }),
    complaint: () => {},
  } satisfies Events);
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const manager = () => managers.at(-1)!;
const socket = (namespace: string) => manager().sockets.get(namespace)!;

/** The broker takes the connection, and gives `key` to whoever has none. */
async function accepted(key = 'session key') {
  manager().opens();
  await socket('/auth').opens('a');
  socket('/auth').fire('GET_CLIENT_KEY', { key });
  await socket('/llm').opens('l');
}

describe('a connection that is made again', () => {
  const again = async (next: Target, key = 'session key') => {
    connection.open(target);
    await accepted();
    connection.close();
    vi.advanceTimersByTime(2_000);
    connection.open(next);
    await accepted(key);
    return lines.map(({ resumed }) => resumed);
  };

  test('by the user, at once: the broker still waits for answers', async () => {
    expect(await again({ ...target })).toEqual([false, true]);
  });

  test('by the user, at once, while the broker names its other key sooner or later: it is the pushed one that counts', async () => {
    let late = (_: object) => {};
    reply = () => new Promise((resolve) => (late = resolve));
    connection.open(target);
    await accepted();
    late({ status: 'ok', key: 'lasting key' });
    await vi.advanceTimersByTimeAsync(0);
    reply = () => ({ status: 'ok', key: 'lasting key' });
    expect(await again(target)).toEqual([false, true, true]);
  });

  test('by the user, elsewhere: nobody there waits', async () => {
    expect(await again({ ...target, url: 'http://other:4000' })).toEqual([false, false]);
  });

  test('by the user, as another client: nobody waits', async () => {
    expect(await again({ ...target, clientId: 'SillyTavern-1' })).toEqual([false, false]);
  });
});

describe('a connection that is made again with a key', () => {
  const shown = { ...target, key: 'lasting key' };
  const [unknown, unauthorized] = ['Client key not found.', 'Unauthorized'].map((message) => ({ status: 'error', message }));
  /** The broker takes the key and pushes none: of the one it was shown, it knows only the hash. */
  const accepted = async () => {
    manager().opens();
    await socket('/auth').opens('a');
    return socket('/llm').opens('l');
  };
  /** The network breaks, and is back at once, with a broker that answers `then`. */
  const again = async (then: typeof reply) => {
    connection.open(shown);
    await accepted();
    for (const namespace of ['/auth', '/llm']) socket(namespace).closes('transport close');
    await vi.advanceTimersByTimeAsync(1_000);
    reply = then;
    expect(await accepted()).toMatchObject({ key: 'lasting key' });
    return lines.map(({ resumed }) => resumed);
  };
  const named = (key: string) => (event: string) =>
    event === 'IDENTIFY_SILLYTAVERN' ? { status: 'warning', message: 'SillyTavern already connected.', key } : unknown;

  test('to the same process: it still waits for answers', async () => {
    reply = named('session key');
    expect(await again(reply)).toEqual([false, true]);
  });

  test('to another process: it knows nothing of what was asked', async () => {
    reply = named('session key');
    expect(await again(named('another session key'))).toEqual([false, false]);
  });

  test('to a broker that names the key itself, and no session key: it is known by that', async () => {
    reply = (event) => (event === 'GET_CLIENT_KEY' ? { status: 'ok', key: 'lasting key' } : unauthorized);
    expect(await again(reply)).toEqual([false, true]);
  });

  test('to a broker for which it is no extension: it is not taken for one that may only log in', async () => {
    reply = (event) => (event === 'GET_CLIENT_KEY' ? unknown : unauthorized);
    expect(await again(reply)).toEqual([false, false]);
    expect(states.at(-1)).toEqual({ name: 'online' });
  });
});

describe('a broker that wants a key', () => {
  const unauthorized = { status: 'error', message: 'Unauthorized' };
  const shown = (namespace: string) => {
    const auth = vi.fn();
    void socket(namespace).auth(auth);
    return auth;
  };

  test.each([
    ['', 'The broker asks for a key.'],
    ['wrong', 'Invalid key.'],
  ])('and lets the key "%s" in only to log in: it refuses, no other namespace is opened, and it is tried again', async (key, detail) => {
    reply = () => unauthorized;
    connection.open({ ...target, key });
    const llm = shown('/llm');
    manager().opens();
    await socket('/auth').opens('a');
    await vi.advanceTimersByTimeAsync(5_000);
    expect(states.at(-1)).toEqual({ name: 'refused', detail });
    expect(llm).not.toHaveBeenCalled();
    expect(managers).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(15_000);
    expect(managers).toHaveLength(2);
  });

  test('and gives it to this machine: it is shown to the other namespaces', async () => {
    // Somebody who is no extension may not ask for a key.
    reply = () => unauthorized;
    connection.open(target);
    manager().opens();
    const opened = socket('/auth').opens('a');
    socket('/auth').fire('GET_CLIENT_KEY', { key: 'pushed' });
    await opened;
    expect(await socket('/llm').opens('l')).toMatchObject({ key: 'pushed' });
    await vi.advanceTimersByTimeAsync(5_000);
    expect(states.at(-1)).toEqual({ name: 'online' });
  });

  test('is not one that neither pushes nor answers: the key is left out', async () => {
    reply = () => undefined;
    connection.open(target);
    manager().opens();
    await socket('/auth').opens('a');
    const opened = socket('/llm').opens('l');
    await vi.advanceTimersByTimeAsync(3_000);
    expect(await opened).not.toHaveProperty('key');
    expect(states.at(-1)).toEqual({ name: 'online' });
  });
});

describe('a call', () => {
  let ack: ReturnType<typeof vi.fn>;
  beforeEach(async () => {
    connection.open(target);
    await accepted();
    await socket('/function_call').opens('c1');
    ack = vi.fn();
    socket('/function_call').fire('FUNCTION_CALL', 'which', ack);
  });

  test('is answered on the connection on which it came', () => {
    calls[0]!.answer({ success: true });
    expect(calls[0]!.payload).toBe('which');
    expect(ack).toHaveBeenCalledExactlyOnceWith({ success: true });
  });

  test('is not answered while there is none, nor on the next, where another one may have its number', async () => {
    socket('/function_call').closes('transport close');
    calls[0]!.answer({ success: true });
    await socket('/function_call').opens('c2');
    calls[0]!.answer({ success: true });
    expect(ack).not.toHaveBeenCalled();
  });
});
