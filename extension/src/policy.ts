/** What a remote request may do, as set in the panel. */
import type { Mode, Request } from './request';

export interface Policy {
  quiet: boolean;
  chat: boolean;
  defaultMode: Mode;
}

/** The mode in which a request is answered, or why it is not. */
export function modeFor(request: Request, policy: Policy): { mode: Mode } | { refusal: string } {
  const wanted = request.mode ?? (request.regenerate ? 'chat' : policy.defaultMode);
  if (request.regenerate && wanted === 'quiet') {
    return { refusal: 'Access denied: only chat mode can regenerate an answer.' };
  }
  if (!policy[wanted]) return { refusal: `Access denied: ${wanted} mode is switched off in SillyTavern.` };
  if (request.text.trim() === '' && !request.regenerate) return { refusal: 'The request has no text.' };
  return { mode: wanted };
}
