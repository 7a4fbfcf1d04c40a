/** An LLM request, as the broker forwards it to dialect 2 (spec §4.4, §4.9.4). */

export type Mode = 'quiet' | 'chat';

export const isMode = (value: unknown): value is Mode => value === 'quiet' || value === 'chat';

export interface Request {
  requestId: string;
  /** Who asks, as authenticated by the broker. */
  clientId: string;
  text: string;
  /** What the request asks for; `null` leaves it to the panel. */
  mode: Mode | null;
  /** Another answer in place of the chat's last one. */
  regenerate: boolean;
}

type Fields = Record<string, unknown>;

/** The request, or why there is none. */
export function readRequest(payload: unknown): Request | string {
  if (!isObject(payload)) return 'Invalid LLM request data.';
  const requestId = payload['requestId'];
  if (typeof requestId !== 'string' || requestId === '') return 'Invalid LLM request data.';
  // In a room, `mode` at the top is the room's; what the requester sent is in `currentRequest`.
  const original = isObject(payload['currentRequest']) ? payload['currentRequest'] : {};
  const pick = (name: string) => payload[name] ?? original[name];
  const mode = [payload['mode'], original['mode']].find(isMode) ?? null;
  const clientId = payload['clientId'] ?? payload['requestingIdentity'];
  return {
    requestId,
    clientId: typeof clientId === 'string' ? clientId : '',
    text: textOf(payload) || textOf(original),
    mode,
    regenerate: pick('requestType') === 'regenerateMessage',
  };
}

/** The first field that holds text (spec §4.9.4); `instruction` is that of a think request. */
function textOf(fields: Fields): string {
  const data = fields['data'];
  const inner = isObject(data) ? [data['text'], data['prompt']] : [data];
  for (const value of [fields['message'], ...inner, fields['prompt'], fields['instruction']]) {
    if (typeof value === 'string' && value !== '') return value;
    if (typeof value === 'number') return String(value);
  }
  return '';
}

/** What two requests under one id have in common if they are one request, sent twice. */
export function sameRequest(one: Request, other: Request): boolean {
  return (
    one.clientId === other.clientId &&
    one.text === other.text &&
    one.mode === other.mode &&
    one.regenerate === other.regenerate
  );
}

export function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
