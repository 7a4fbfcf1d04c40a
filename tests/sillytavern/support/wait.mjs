// A SillyTavern on a busy machine takes its time.
import { within as patiently } from '../../clients/support/wait.mjs';

/** `promise`, or an error that says what did not happen within `ms`. */
export const within = (promise, what, ms = 15_000) => patiently(promise, what, ms);
