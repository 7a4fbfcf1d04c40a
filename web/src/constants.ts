/** Events of the numeric dialect that the page uses (spec §1.5). */
export const MSG_TYPE = {
  NON_STREAM: 0,
  LLM_REQUEST: 9,
  ERROR: 21,
  GET_SILLYTAVERN_EXTENSION: 33,
} as const;

/** `ERROR` in the named dialect; a server that does not know the dialect yet sends both (spec §1.4). */
export const ERROR_NAME = 'ERROR';

/** Inner event name of answer streams, announced in the handshake so that no probing is needed (spec §5.6). */
export const STREAM_EVENT = 'streamed_data';
