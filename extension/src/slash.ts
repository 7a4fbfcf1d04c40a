/**
 * Which slash commands a remote caller may run: one command of the list, and nothing that would let it
 * reach another one. Pipes, closures and macros all could.
 */

/** The names in a text like `echo, /bg sys`. */
export function commandNames(list: string): string[] {
  return list
    .split(/[\s,;]+/)
    .map((name) => name.replace(/^\/+/, '').toLowerCase())
    .filter((name) => name !== '');
}

/** Why `command` may not run, or `null` if it may. */
export function refusal(command: unknown, allowed: readonly string[]): string | null {
  if (typeof command !== 'string') return 'Invalid arguments.';
  const name = /^\/([\w-]+)(?=\s|$)/.exec(command.trim())?.[1]?.toLowerCase();
  if (name === undefined) return 'A slash command begins with / and its name.';
  if (!allowed.includes(name)) return `Access denied: /${name} is not on the list in SillyTavern.`;
  if (/[|]|\{:|:\}|\{\{/.test(command)) {
    return 'Access denied: pipes, closures and macros are not run for remote callers.';
  }
  return null;
}
