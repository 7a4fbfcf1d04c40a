/** Wires the broker's events to the model, and the model to the view. */
import { v4 as uuid } from 'uuid';
import { Answers } from './answers';
import { Broker, NoAnswer, Refused } from './broker';
import { chooseLanguage, explain, type Language, type Say } from './i18n';
import { View } from './view';

const LANGUAGE_KEY = 'newage.language';
const LIST_EVERY_MS = 3000;
const SETTLE_EVERY_MS = 500;

let language: Language = chooseLanguage(remembered(), navigator.language);

const view = new View(language, {
  send: (target, prompt) => void send(target, prompt),
  refresh: () => void list(),
  reconnect: () => {
    view.clearError();
    broker.reconnect();
  },
  switchLanguage: () => {
    language = language === 'en' ? 'zh' : 'en';
    remember(language);
    view.speak(language);
  },
});

const answers = new Answers({
  limit: 100,
  quietMs: 1500,
  changed: (entry) => view.showEntry(entry),
  forgotten: (requestId) => view.forget(requestId),
});

const broker = new Broker(location.origin, socketPath(), {
  link: (link) => {
    view.showLink(link);
    if (link !== 'online') return;
    view.clearError();
    void list();
  },
  unreachable: (detail) => view.showError({ key: 'errorUnreachable', fill: { detail } }),
  refused: (namespace, error) => {
    const detail: Say | string = error ? explain(error.message, error.code) : '';
    view.showError({ key: 'errorRefused', fill: { namespace, detail } });
  },
  error: ({ message, code, requestId }) => {
    const error = explain(message, code);
    if (requestId !== undefined && answers.get(requestId)) answers.failed(requestId, error);
    else view.showError(error);
  },
  opened: (info) => answers.opened(info, performance.now()),
  chunk: (info, bytes) => answers.chunk(info, bytes, performance.now()),
  closed: (info) => answers.closed(info, performance.now()),
  broken: (info, message) => {
    const known = explain(message);
    const error: Say = known.key === 'errorServer' ? { key: 'errorStream', fill: { detail: message } } : known;
    answers.broken(info, error, performance.now());
  },
  message: (requestId, outputId, text) => answers.message(requestId, outputId, text, performance.now()),
});

async function send(target: string, prompt: string): Promise<void> {
  if (!broker.online) return view.showError({ key: 'errorOffline' });
  if (target === '') return view.showError({ key: 'errorNoExtension' });
  const requestId = uuid();
  view.clearError();
  view.clearPrompt();
  answers.ask(requestId, target, prompt, performance.now());
  try {
    await broker.request(requestId, target, prompt);
    answers.accepted(requestId);
  } catch (error) {
    answers.failed(requestId, reason(error));
    void list();
  }
}

/** Asks for the extensions; an answer that a later question has overtaken does not count. */
let lists = 0;
async function list(): Promise<void> {
  if (!broker.online) return;
  lists += 1;
  const mine = lists;
  try {
    const ids = await broker.extensions();
    if (mine === lists) view.showExtensions(ids);
  } catch (error) {
    if (mine === lists && broker.online) view.showError({ key: 'errorList', fill: { detail: reason(error) } });
  }
}

function reason(error: unknown): Say {
  if (error instanceof NoAnswer) return { key: 'errorNoAck' };
  return explain(error instanceof Refused ? error.message : String(error));
}

function socketPath(): string {
  return document.querySelector<HTMLMetaElement>('meta[name=socket-io-path]')?.content || '/socket.io/';
}

// Storage is forbidden in some private windows; the page then just forgets.
function remembered(): string | null {
  try {
    return localStorage.getItem(LANGUAGE_KEY);
  } catch {
    return null;
  }
}

function remember(value: Language): void {
  try {
    localStorage.setItem(LANGUAGE_KEY, value);
  } catch {
    return;
  }
}

setInterval(() => answers.settle(performance.now()), SETTLE_EVERY_MS);
setInterval(() => {
  if (!document.hidden) void list();
}, LIST_EVERY_MS);
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) void list();
});
