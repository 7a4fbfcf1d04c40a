/**
 * The connection to the broker: four namespaces over one Engine.IO connection, which is made again
 * until the user disconnects.
 *
 * `/auth` comes first. It shows the key, or asks for one (spec §2.6), and the other namespaces wait for
 * what it says. A broker may also let somebody in without a valid key, for a while and only to log in: it
 * pushes none, and answers nothing else. The session key, which it gives to an extension on `/auth`, lives
 * as long as the broker's process, whatever key was shown: another one after a reconnect means that it
 * knows nothing of what was asked before.
 *
 * No goodbye is ever sent: a broker keeps the place of a peer that vanished, not of one that left.
 */
import { Manager, type Socket } from 'socket.io-client';
import { CLIENT_TYPE, DIALECT, EVENT, GET_KEY, NAMESPACE } from './protocol';
import { isObject } from './request';

export interface Target {
  url: string;
  clientId: string;
  identity: string;
  key: string;
  desc: string;
}

export type State =
  | { name: 'off' }
  | { name: 'connecting' }
  | { name: 'online' }
  | { name: 'unreachable'; detail: string }
  | { name: 'refused'; detail: string };

/** One life of the `/llm` socket. */
export interface Line {
  send(event: string, payload: object): void;
  /** The broker is the same process as before, and was away so briefly that it still waits for answers. */
  readonly resumed: boolean;
}

export interface Events {
  state(state: State): void;
  up(line: Line): void;
  down(): void;
  request(payload: unknown): void;
  call(payload: unknown, answer: (reply: object) => void): void;
  /** The broker complains about something that is no request. */
  complaint(message: string): void;
}

const ACK_MS = 10_000;
/** A broker that neither pushes a key nor answers may be one that needs none; then it is left out. */
const KEY_PUSH_MS = 3_000;
/** What a session that may only log in is told, whatever it asks (spec §2.6, §3.4). */
const UNAUTHORIZED = 'Unauthorized';
/** Trust files and keys may change at any time; ten wrong keys a minute are too many. */
const RETRY_MS = { refused: 15_000, limited: 65_000, dropped: 1_000 };
/** The broker's default grace (spec §3.8), with a second for the way. */
const GRACE_MS = 4_000;
/** Its heartbeat, and what it waits for an answer: silence for longer means that this side slept. */
const HEARTBEAT_MS = 45_000;

/** `http://host:port/prefix` in the parts that Socket.IO wants, or `null`. */
export function parseUrl(text: string): { origin: string; path: string } | null {
  const trimmed = text.trim();
  let url: URL;
  try {
    url = new URL(/^[a-z][a-z0-9+.-]*:\/\//i.test(trimmed) ? trimmed : `http://${trimmed}`);
  } catch {
    return null;
  }
  const scheme = { 'http:': 'http:', 'https:': 'https:', 'ws:': 'http:', 'wss:': 'https:' }[url.protocol];
  if (scheme === undefined || url.host === '') return null;
  return { origin: `${scheme}//${url.host}`, path: `${url.pathname.replace(/\/+$/, '')}/socket.io` };
}

export class Connection {
  readonly #events: Events;
  #target: Target | null = null;
  #manager: Manager | null = null;
  #sockets = new Map<string, Socket>();
  #retry: ReturnType<typeof setTimeout> | undefined;
  /** What the broker says while it rejects a namespace. */
  #rejection: { message: string; limited: boolean } | null = null;
  #credential = deferred<string>();
  #broker: string | null = null;
  #lastHome: string | null = null;
  #lost: { at: number; heard: number } | null = null;
  #heard = 0;
  #up = false;

  constructor(events: Events) {
    this.#events = events;
    const wake = () => this.wake();
    window.addEventListener('online', wake);
    document.addEventListener('visibilitychange', wake);
  }

  get on(): boolean {
    return this.#target !== null;
  }

  /** Connects, and stays connected until `close`. */
  open(target: Target): void {
    this.close();
    this.#target = target;
    this.#connect();
  }

  close(): void {
    this.#target = null;
    this.#drop();
    this.#events.state({ name: 'off' });
  }

  /** Tries again at once: the network or the tab is back. */
  wake(): void {
    if (this.#target !== null && !this.#up && document.visibilityState !== 'hidden') {
      this.#drop();
      this.#connect();
    }
  }

  /** Asks `/clients`, where keys are administered. */
  async administer(event: string, payload: object): Promise<Record<string, unknown>> {
    const socket = this.#sockets.get(NAMESPACE.clients);
    if (!socket?.connected) throw new Error('Not connected to the broker.');
    const answer: unknown = await socket.timeout(ACK_MS).emitWithAck(event, payload);
    if (!isObject(answer) || answer['status'] !== 'ok') {
      throw new Error(isObject(answer) && typeof answer['message'] === 'string' ? answer['message'] : 'No answer.');
    }
    return answer;
  }

  #connect(): void {
    const target = this.#target;
    const url = target && parseUrl(target.url);
    if (!target || !url) {
      this.#events.state({ name: 'unreachable', detail: 'The broker URL is not valid.' });
      return;
    }
    this.#events.state({ name: 'connecting' });
    const manager = new Manager(url.origin, {
      path: url.path,
      transports: ['websocket', 'polling'],
      tryAllTransports: true,
      reconnectionDelay: 500,
      reconnectionDelayMax: 5_000,
      autoConnect: false,
    });
    this.#manager = manager;
    manager.on('open', () => {
      this.#credential = deferred();
      this.#rejection = null;
      this.#broker = null;
      manager.engine.on('packet', () => (this.#heard = Date.now()));
    });
    manager.on('error', (error) => {
      this.#events.state({ name: 'unreachable', detail: error.message });
    });

    for (const namespace of Object.values(NAMESPACE)) {
      const socket = manager.socket(namespace, {
        auth: (send: (auth: object) => void) => void this.#authenticate(manager, namespace, send),
      });
      this.#sockets.set(namespace, socket);
      socket.on(EVENT.error, (error: unknown) => this.#complaint(socket, error));
      socket.on('connect_error', (error) => {
        // Also what the manager reports; a namespace that is refused this way is not tried again.
        if (manager._readyState === 'open') this.#rejected({ message: error.message, limited: false });
      });
      socket.on('disconnect', (reason) => {
        if (namespace === NAMESPACE.llm) this.#lineDown();
        if (reason === 'io server disconnect') this.#thrownOut();
      });
    }
    this.#hear();
    for (const socket of this.#sockets.values()) socket.connect();
  }

  #hear(): void {
    const auth = this.#socket(NAMESPACE.auth);
    auth.on(EVENT.clientKey, (pushed: unknown) => {
      const key = isObject(pushed) && typeof pushed['key'] === 'string' ? pushed['key'] : null;
      if (key === null) return;
      this.#broker = key;
      this.#credential.resolve(key);
    });
    auth.on('connect', () => void this.#greeted(auth, this.#credential));
    const llm = this.#socket(NAMESPACE.llm);
    llm.on(EVENT.request, (payload: unknown) => this.#events.request(payload));
    llm.on('connect', () => this.#lineUp(llm));
    const calls = this.#socket(NAMESPACE.calls);
    calls.on(EVENT.call, (payload: unknown, ack: unknown) => {
      const { id } = calls;
      this.#events.call(payload, (reply) => {
        // The number of the ack may be that of another call by now, if the connection is another one.
        if (typeof ack === 'function' && calls.connected && calls.id === id) ack(reply);
      });
    });
  }

  #socket(namespace: string): Socket {
    const socket = this.#sockets.get(namespace);
    if (!socket) throw new Error(`${namespace} was opened`);
    return socket;
  }

  async #authenticate(manager: Manager, namespace: string, send: (auth: object) => void): Promise<void> {
    const target = this.#target;
    if (target === null) return;
    const engine = manager.engine;
    const key = namespace === NAMESPACE.auth ? target.key || GET_KEY : await this.#credential.promise;
    // The connection for which this waited may be gone, and the next one asks again.
    if (this.#manager !== manager || manager.engine !== engine || manager._readyState !== 'open') return;
    send({
      clientType: CLIENT_TYPE,
      clientId: target.clientId,
      identity: target.identity,
      desc: target.desc,
      dialect: DIALECT,
      ...(key === '' ? {} : { key }),
    });
  }

  /** `/auth` has accepted the key that it was shown, or has been asked for one. */
  async #greeted(auth: Socket, credential: Deferred<string>): Promise<void> {
    const target = this.#target;
    if (target === null) return;
    const ask = async (event: string): Promise<Record<string, unknown>> => {
      const asked = auth.timeout(KEY_PUSH_MS).emitWithAck(event, { clientId: target.clientId });
      // Without an answer only the sign of whether this is the same broker is missing: it counts as another one.
      const answer: unknown = await asked.catch(() => null);
      return isObject(answer) ? answer : {};
    };
    // Only the session key is there for whoever shows a key: the broker has kept no more than its hash. Who is
    // no extension for the broker gets no session key, but its own; who may only log in gets neither.
    const [session, own] = await Promise.all([ask(EVENT.identify), ask(EVENT.clientKey)]);
    if (this.#credential !== credential || this.#target !== target) return;
    const key = [session['key'], own['key']].find((given) => typeof given === 'string');
    // A key that is pushed comes before any answer.
    if (own['message'] === UNAUTHORIZED && key === undefined && this.#broker === null) {
      const why = target.key === '' ? 'The broker asks for a key.' : 'Invalid key.';
      this.#rejected({ message: why, limited: false });
      return;
    }
    // It may be another one than the pushed, and come when all namespaces are open.
    if (key !== undefined) this.#broker ??= key;
    credential.resolve(target.key);
  }

  /** Where requests come from: a broker, as long as it lives, under one URL and for one client id. */
  #home(): string | null {
    if (this.#broker === null || this.#target === null) return null;
    const { url, clientId } = this.#target;
    return JSON.stringify([url, clientId, this.#broker]);
  }

  #lineUp(llm: Socket): void {
    const now = Date.now();
    const brief =
      this.#lost !== null && now - this.#lost.at < GRACE_MS && this.#lost.at - this.#lost.heard < HEARTBEAT_MS;
    const home = this.#home();
    const same = home !== null && home === this.#lastHome;
    this.#lastHome = home;
    this.#lost = null;
    this.#heard = now;
    this.#up = true;
    this.#events.state({ name: 'online' });
    const { id } = llm;
    this.#events.up({
      resumed: same && brief,
      // A socket that is not connected would keep it for the next connection, which knows nothing of it.
      send: (event, payload) => void (llm.connected && llm.id === id && llm.emit(event, payload)),
    });
  }

  #lineDown(): void {
    if (!this.#up) return;
    this.#up = false;
    this.#lost = { at: Date.now(), heard: this.#heard };
    this.#events.down();
    if (this.#target !== null) this.#events.state({ name: 'connecting' });
  }

  #complaint(socket: Socket, error: unknown): void {
    const fields = isObject(error) ? error : {};
    const message = typeof fields['message'] === 'string' ? fields['message'] : 'The broker reports an error.';
    // A rejection is this, and then a disconnect (spec §3.2).
    this.#rejection = { message, limited: fields['code'] === 'rate_limited' };
    const rejection = this.#rejection;
    setTimeout(() => {
      if (this.#rejection !== rejection || !socket.connected) return;
      this.#rejection = null;
      this.#events.complaint(message);
    }, 200);
  }

  /** The broker has ended a namespace: it does not want this client, or it is going down. */
  #thrownOut(): void {
    if (this.#rejection !== null) this.#rejected(this.#rejection);
    else this.#again(RETRY_MS.dropped);
  }

  #rejected(rejection: { message: string; limited: boolean }): void {
    this.#again(rejection.limited ? RETRY_MS.limited : RETRY_MS.refused);
    this.#events.state({ name: 'refused', detail: rejection.message });
  }

  #again(ms: number): void {
    const target = this.#target;
    this.#drop();
    this.#retry = setTimeout(() => {
      if (this.#target === target && target !== null) this.#connect();
    }, ms);
  }

  #drop(): void {
    clearTimeout(this.#retry);
    const sockets = [...this.#sockets.values()];
    this.#sockets.clear();
    const manager = this.#manager;
    this.#manager = null;
    this.#lineDown();
    for (const socket of sockets) {
      socket.removeAllListeners();
      socket.disconnect();
    }
    manager?.removeAllListeners();
  }
}

interface Deferred<T> {
  promise: Promise<T>;
  resolve: (value: T) => void;
}

function deferred<T>(): Deferred<T> {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((done) => (resolve = done));
  return { promise, resolve };
}
