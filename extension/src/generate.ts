/**
 * Lets SillyTavern generate, and reports the text as it comes.
 *
 * Quiet mode: SillyTavern builds the whole request for a quiet prompt (character, chat, lore, what other
 * extensions add), but itself never streams a quiet prompt. So its last event before sending, which
 * exists for extensions to change what is sent, is where this one sends the request through the public
 * completion service, streaming if the user streams. SillyTavern's own sending then ends with `Sent`,
 * before anything leaves the browser; meanwhile it shows its stop button as for any generation. An API
 * without such a service answers as SillyTavern gives it, in one piece.
 *
 * Chat mode: the user's message enters the chat, and SillyTavern answers there.
 */
import { DeltaCutter } from './deltas';
import type { Mode } from './request';
import { type ChatMessage, type CompletionService, context, eventName, sendDate } from './sillytavern';

export interface Job {
  mode: Mode;
  regenerate: boolean;
  text: string;
  /** Whose it is, for the message in the chat. */
  clientId: string;
}

/** The answer: streamed through `onDelta`, or whole. */
export type Generated = { streamed: true } | { streamed: false; text: string };

/** A failure, in words for the one who asked. */
export class GenerationError extends Error {}

/** Ends SillyTavern's own sending of a request that was sent here. */
class Sent extends Error {}

const NO_CONNECTION = 'no_connection';
/** After a reload SillyTavern needs a moment to reach its API. */
const API_PATIENCE_MS = 8_000;

export async function generate(job: Job, onDelta: (text: string) => void): Promise<Generated> {
  await idle();
  await apiConnected();
  const stop = new AbortController();
  const stopped = () => stop.abort();
  const { eventSource } = context();
  eventSource.on(eventName('GENERATION_STOPPED'), stopped);
  try {
    const answer = await (job.mode === 'quiet' ? quiet(job, onDelta, stop.signal) : chat(job, onDelta));
    if (stop.signal.aborted) throw new GenerationError('The generation was stopped in SillyTavern.');
    if (!answer.streamed && answer.text === '') throw new GenerationError('SillyTavern got an empty answer.');
    return answer;
  } catch (error) {
    if (stop.signal.aborted) throw new GenerationError('The generation was stopped in SillyTavern.');
    throw error instanceof GenerationError ? error : new GenerationError(reasonOf(error));
  } finally {
    eventSource.removeListener(eventName('GENERATION_STOPPED'), stopped);
  }
}

async function quiet(job: Job, onDelta: (text: string) => void, signal: AbortSignal): Promise<Generated> {
  const { eventSource, mainApi } = context();
  let answer: Generated | null = null;
  let failure: unknown = null;

  const send = async (data: { messages?: unknown; prompt?: unknown; toJSON?: () => never }) => {
    const service = serviceOf(mainApi);
    if (answer !== null || failure !== null || service === null || signal.aborted) return;
    if (!carries(data.messages ?? data.prompt, job.text)) return;
    try {
      answer = await complete(service, data, onDelta, signal);
    } catch (error) {
      failure = error;
    }
    data.toJSON = () => {
      throw new Sent('sent by the NewAge extension');
    };
  };

  // Chat completion's last event holds the request itself; text completion's is this one.
  const event = eventName(mainApi === 'openai' ? 'CHAT_COMPLETION_SETTINGS_READY' : 'GENERATE_AFTER_DATA');
  eventSource.makeLast(event, send);
  let whole: unknown;
  try {
    whole = await context().generate('quiet', { quiet_prompt: job.text, force_name2: true });
  } catch (error) {
    if (answer === null && failure === null) throw error;
  } finally {
    eventSource.removeListener(event, send);
  }
  if (failure !== null) throw failure;
  return answer ?? { streamed: false, text: textOf(whole) };
}

interface Service {
  api: CompletionService;
  stream: boolean;
}

/** How the selected API is asked directly; `null` if it can only be asked by SillyTavern. */
function serviceOf(mainApi: string): Service | null {
  const { ChatCompletionService, TextCompletionService, chatCompletionSettings, textCompletionSettings } = context();
  if (mainApi === 'openai') return { api: ChatCompletionService, stream: chatCompletionSettings.stream_openai };
  // A whole text completion needs SillyTavern's clean-up of stop strings and names; a stream has none.
  if (mainApi === 'textgenerationwebui' && textCompletionSettings.streaming) {
    return { api: TextCompletionService, stream: true };
  }
  return null;
}

/** OpenAI's o1 does not stream; SillyTavern knows the same two. */
const NEVER_STREAM = ['o1', 'o1-2024-12-17'];

async function complete(
  { api, stream }: Service,
  data: object,
  onDelta: (text: string) => void,
  signal: AbortSignal,
): Promise<Generated> {
  const model = (data as { model?: string; chat_completion_source?: string }).model ?? '';
  const streamed = stream && !NEVER_STREAM.includes(model);
  const got = await api.sendRequest({ ...data, stream: streamed }, true, signal);
  if (typeof got !== 'function') return { streamed: false, text: got.content ?? '' };
  const cutter = new DeltaCutter();
  let empty = true;
  const give = (delta: string) => {
    if (delta !== '') empty = false;
    onDelta(delta);
  };
  for await (const { text } of got()) {
    if (signal.aborted) break;
    give(cutter.push(text));
  }
  give(cutter.finish());
  return empty ? { streamed: false, text: '' } : { streamed: true };
}

/** Another extension may generate at the same moment: is this the request with our prompt? */
function carries(prompt: unknown, text: string): boolean {
  // What macros become is SillyTavern's affair; the rest of the text is enough to know it by.
  const [first = ''] = text.split('{{');
  return JSON.stringify(prompt ?? '').includes(JSON.stringify(first.trim()).slice(1, -1));
}

async function chat(job: Job, onDelta: (text: string) => void): Promise<Generated> {
  const { chat: messages, groupId, characterId, eventSource } = context();
  if (groupId === null && characterId === undefined) throw new GenerationError('No chat is open in SillyTavern.');
  if (job.regenerate) {
    if (groupId !== null) throw new GenerationError('SillyTavern regenerates one-to-one chats only.');
    if (messages.length < 2) throw new GenerationError('The chat has no answer to regenerate.');
    // A note, or a hidden message: SillyTavern would delete it as if it were the answer, and answer once more.
    if (messages.at(-1)?.is_system) throw new GenerationError('The last message of the chat is not an answer.');
  } else {
    await addUserMessage(job);
  }

  const cutter = new DeltaCutter();
  let streamed = false;
  const token = (text: string) => {
    const delta = cutter.push(text);
    if (delta !== '') streamed = true;
    onDelta(delta);
  };
  const draft = setDraftAside();
  // A group's characters generate one after the other, and what is in the field would be said before each of them.
  const begun = (type: string, _options: object, counting: boolean) => {
    if (groupId !== null && type !== 'quiet' && !counting) draft.hold();
  };
  // Prompts that SillyTavern prepares to count their tokens say the same when they are ready, and a group's field is
  // emptied for each of its characters: too early, and the draft would be taken for what is said, or lost.
  const prepared = (_data: unknown, counting?: boolean) => {
    if (groupId === null && (job.regenerate || draft.wasEmptied())) draft.restore();
    // What a tool has brought goes to the model without a look at the field.
    if (groupId !== null && counting === false) draft.letGo();
  };
  const before = messages.filter((message) => isAnswer(message));
  eventSource.on(eventName('STREAM_TOKEN_RECEIVED'), token);
  eventSource.on(eventName('GENERATION_STARTED'), begun);
  eventSource.on(eventName('GENERATE_AFTER_DATA'), prepared);
  let result: unknown;
  try {
    result = await context().generate(job.regenerate ? 'regenerate' : 'normal', { automatic_trigger: true });
  } finally {
    eventSource.removeListener(eventName('STREAM_TOKEN_RECEIVED'), token);
    eventSource.removeListener(eventName('GENERATION_STARTED'), begun);
    eventSource.removeListener(eventName('GENERATE_AFTER_DATA'), prepared);
    draft.restore();
  }
  if (streamed) {
    // SillyTavern resolves with nothing if a stream broke off; what came of it is not the answer.
    if (groupId === null && result === undefined) throw new GenerationError('The stream broke off.');
    onDelta(cutter.finish());
    return { streamed: true };
  }
  // A group may have answered with several messages.
  const added = context().chat.filter((message) => isAnswer(message) && !before.includes(message));
  return { streamed: false, text: added.map((message) => message.mes).join('\n\n') || textOf(result) };
}

const isAnswer = (message: ChatMessage) => !message.is_user && !message.is_system;

async function addUserMessage({ text, clientId }: Job): Promise<void> {
  const { chat: messages, name1, eventSource, addOneMessage, saveChat } = context();
  const message: ChatMessage = {
    name: name1,
    is_user: true,
    is_system: false,
    send_date: sendDate(),
    mes: text,
    extra: { newage: { clientId } },
  };
  messages.push(message);
  const id = messages.length - 1;
  await eventSource.emit(eventName('MESSAGE_SENT'), id);
  addOneMessage(message);
  await eventSource.emit(eventName('USER_MESSAGE_RENDERED'), id);
  await saveChat();
}

/** A normal generation takes the input field for what is said: what the user writes there is kept, and comes back. */
function setDraftAside() {
  const field = document.querySelector<HTMLTextAreaElement>('#send_textarea');
  let draft = '';
  /** SillyTavern has yet to look at the field: whatever comes into it is put aside at once. */
  let holding = false;
  let emptied = false;
  let ours = false;
  const set = (value: string) => {
    if (!field) return;
    field.value = value;
    ours = true;
    field.dispatchEvent(new Event('input', { bubbles: true }));
    ours = false;
  };
  const hold = () => {
    holding = true;
    const written = field?.value ?? '';
    draft += written;
    if (written !== '') set('');
  };
  const input = (event: Event) => {
    if (ours) return;
    // The user's own are trusted.
    if (!event.isTrusted && field?.value === '') {
      emptied = true;
      holding = false;
    }
    if (holding) hold();
  };
  field?.addEventListener('input', input);
  hold();
  return {
    /** SillyTavern has emptied the field since. */
    wasEmptied: () => emptied,
    hold,
    letGo: () => {
      holding = false;
    },
    restore: () => {
      field?.removeEventListener('input', input);
      if (draft !== '') set(draft + (field?.value ?? ''));
      draft = '';
    },
  };
}

/** Until SillyTavern generates nothing, neither for its user nor for another extension. */
async function idle(): Promise<void> {
  while (generating()) {
    await happens(['GENERATION_ENDED', 'GENERATION_STOPPED'], 500);
    // The event comes before SillyTavern has tidied up.
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export const generating = () => document.body.dataset['generating'] === 'true';

async function apiConnected(): Promise<void> {
  const until = performance.now() + API_PATIENCE_MS;
  while (context().onlineStatus === NO_CONNECTION) {
    const left = until - performance.now();
    if (left <= 0) throw new GenerationError('SillyTavern is not connected to an API.');
    await happens(['ONLINE_STATUS_CHANGED'], left);
  }
}

/** Until one of the events, or `ms` have passed. */
function happens(events: string[], ms: number): Promise<void> {
  const { eventSource } = context();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      for (const event of events) eventSource.removeListener(eventName(event), done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    for (const event of events) eventSource.on(eventName(event), done);
  });
}

/** Generation resolves with a string, or with a `String` object. */
const textOf = (result: unknown): string =>
  typeof result === 'string' || result instanceof String ? String(result) : '';

function reasonOf(error: unknown): string {
  const inner = error as { error?: { message?: unknown } | string; message?: unknown; cause?: unknown } | null;
  const nested = typeof inner?.error === 'object' ? inner.error.message : inner?.error;
  const reason = [nested, inner?.message, error].find((text) => typeof text === 'string' && text !== '');
  const status = /^Got response status (\d+)$/.exec(String(reason ?? ''))?.[1];
  if (status) return `The language model's API answered with status ${status}.`;
  return typeof reason === 'string' ? reason : 'The generation failed.';
}
