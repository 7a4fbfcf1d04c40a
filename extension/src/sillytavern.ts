/** The part of SillyTavern's public context that this extension uses, the same in 1.12.14 and today. */

export interface ChatMessage {
  name: string;
  is_user: boolean;
  is_system: boolean;
  mes: string;
  send_date?: string | number;
  extra?: Record<string, unknown>;
}

export interface Character {
  name: string;
  avatar: string;
  chat?: string;
}

type Listener = (...args: never[]) => unknown;

export interface EventSource {
  on(event: string, listener: Listener): void;
  once(event: string, listener: Listener): void;
  makeLast(event: string, listener: Listener): void;
  removeListener(event: string, listener: Listener): void;
  emit(event: string, ...args: unknown[]): Promise<void>;
}

/** `ChatCompletionService` and `TextCompletionService`. */
export interface CompletionService {
  sendRequest(
    data: object,
    extractData: boolean,
    signal: AbortSignal,
  ): Promise<{ content: string } | (() => AsyncGenerator<{ text: string }>)>;
}

export interface Context {
  chat: ChatMessage[];
  characters: Character[];
  groups: { id: string; name?: string }[];
  name1: string;
  name2: string;
  characterId: number | string | undefined;
  groupId: string | null;
  onlineStatus: string;
  mainApi: string;
  chatCompletionSettings: { stream_openai: boolean };
  textCompletionSettings: { streaming: boolean };
  extensionSettings: Record<string, unknown>;
  eventSource: EventSource;
  eventTypes: Record<string, string>;
  ChatCompletionService: CompletionService;
  TextCompletionService: CompletionService;
  getCurrentChatId(): string | undefined;
  saveSettingsDebounced(): void;
  saveChat(): Promise<void>;
  addOneMessage(message: ChatMessage): void;
  generate(type: string, options: object): Promise<unknown>;
  substituteParams(text: string): string;
  selectCharacterById(id: number): Promise<void>;
  executeSlashCommandsWithOptions(text: string, options: object): Promise<{ pipe?: string; isError?: boolean; errorMessage?: string }>;
  getCurrentLocale?(): string;
  translate(text: string): string;
  callGenericPopup?(content: string, type: number): Promise<unknown>;
}

declare global {
  // eslint-disable-next-line no-var
  var SillyTavern: { getContext(): Context };
}

/** Fresh: what it holds besides functions is a snapshot. */
export const context = (): Context => SillyTavern.getContext();

/** The event's wire name; an event that this SillyTavern does not know is never heard. */
export const eventName = (name: string): string => context().eventTypes[name] ?? `newage:no ${name}`;

/** `text` in SillyTavern's language, with `${0}`, `${1}`… filled in. */
export function tr(text: string, ...values: (string | number)[]): string {
  return context().translate(text).replace(/\$\{(\d+)\}/g, (_, index) => String(values[Number(index)] ?? ''));
}

/** A message's time as this chat writes it: releases differ, and the older cannot read the newer's. */
export function sendDate(now = new Date()): string {
  const last = context().chat.at(-1)?.send_date;
  if (typeof last === 'string' && /^\d{4}-\d{2}-\d{2}T/.test(last)) return now.toISOString();
  const month = now.toLocaleString('en-US', { month: 'long' });
  const hours = now.getHours() % 12 === 0 ? 12 : now.getHours() % 12;
  const minutes = String(now.getMinutes()).padStart(2, '0');
  return `${month} ${now.getDate()}, ${now.getFullYear()} ${hours}:${minutes}${now.getHours() < 12 ? 'am' : 'pm'}`;
}
