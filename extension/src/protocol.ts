/** Names on the wire, dialect 2 (spec §1.5–1.7). */

export const EVENT = {
  request: 'LLM_REQUEST',
  call: 'FUNCTION_CALL',
  error: 'ERROR',
  message: 'message',
  clientKey: 'GET_CLIENT_KEY',
  identify: 'IDENTIFY_SILLYTAVERN',
  generateKey: 'GENERATE_CLIENT_KEY',
  removeKey: 'REMOVE_CLIENT_KEY',
  clients: 'UPDATE_CONNECTED_CLIENTS',
  streamStart: 'CLIENT_STREAM_START',
  streamFirst: 'CLIENT_STREAM_DATA_FIRST',
  streamMiddle: 'CLIENT_STREAM_DATA_MIDDLE',
  streamEnd: 'CLIENT_STREAM_END',
} as const;

/** Values of `type`, the same in both dialects. */
export const TYPE = { message: 0, streamStart: 1, streamEnd: 3, streamFirst: 4, streamMiddle: 5 } as const;

export const NAMESPACE = {
  auth: '/auth',
  llm: '/llm',
  calls: '/function_call',
  clients: '/clients',
} as const;

/** Asks `/auth` for a key instead of showing one (spec §2.6). */
export const GET_KEY = 'getKey';

export const DIALECT = 'named';
export const CLIENT_TYPE = 'SillyTavern';
