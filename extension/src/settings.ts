/** What the panel remembers: in SillyTavern's settings, or, if it is not to be remembered, in this tab. */
import { isMode, isObject } from './request';
import type { Policy } from './policy';
import { FUNCTIONS, type FunctionName } from './functions';
import { context } from './sillytavern';

export interface Settings {
  url: string;
  clientId: string;
  key: string;
  remember: boolean;
  /** Whether the user wants to be connected. */
  connect: boolean;
  policy: Policy;
  functions: Record<FunctionName, boolean>;
  slashCommands: string;
}

const NAME = 'newage-broker';
const SECRET: readonly (keyof Settings)[] = ['key', 'connect'];

export function defaultClientId(location: Pick<Location, 'port' | 'protocol'>): string {
  return `SillyTavern-${location.port || (location.protocol === 'https:' ? '443' : '80')}`;
}

export function withDefaults(stored: unknown, clientId: string): Settings {
  const fields = isObject(stored) ? stored : {};
  const text = (name: string, otherwise: string) => {
    const value = fields[name];
    return typeof value === 'string' ? value : otherwise;
  };
  const flag = (of: Record<string, unknown>, name: string, otherwise: boolean) => {
    const value = of[name];
    return typeof value === 'boolean' ? value : otherwise;
  };
  const policy = isObject(fields['policy']) ? fields['policy'] : {};
  const functions = isObject(fields['functions']) ? fields['functions'] : {};
  const names = Object.keys(FUNCTIONS) as FunctionName[];
  return {
    url: text('url', 'http://localhost:4000'),
    clientId: text('clientId', '') || clientId,
    key: text('key', ''),
    remember: flag(fields, 'remember', true),
    connect: flag(fields, 'connect', false),
    policy: {
      quiet: flag(policy, 'quiet', true),
      chat: flag(policy, 'chat', true),
      defaultMode: isMode(policy['defaultMode']) ? policy['defaultMode'] : 'quiet',
    },
    functions: Object.fromEntries(
      names.map((name) => [name, flag(functions, name, FUNCTIONS[name].safe)]),
    ) as Settings['functions'],
    slashCommands: text('slashCommands', 'echo'),
  };
}

/** The newer of two copies: SillyTavern's, which it saves after a while, and the one of this tab. */
export function load(): Settings {
  const clientId = defaultClientId(window.location);
  const [stored, tab] = [context().extensionSettings[NAME], parsed(sessionStorage.getItem(NAME))];
  const unsaved = savedAt(tab) > savedAt(stored);
  const settings = withDefaults(unsaved ? tab : stored, clientId);
  // The page was reloaded before SillyTavern had saved.
  if (unsaved) save(settings);
  if (settings.remember) return settings;
  const { key, connect } = withDefaults(tab, clientId);
  return { ...settings, key, connect };
}

export function save(settings: Settings): void {
  keep(settings, Date.now());
  context().saveSettingsDebounced();
  channel.postMessage(rights(settings));
}

/** Puts them where SillyTavern and a reload of this tab take them from. */
function keep(settings: Settings, at: number): void {
  // The default follows the port of the page, so it is not stored.
  const clientId = settings.clientId === defaultClientId(window.location) ? '' : settings.clientId;
  const stored: Stored = { ...settings, clientId, savedAt: at };
  sessionStorage.setItem(NAME, JSON.stringify(stored));
  if (!settings.remember) for (const name of SECRET) delete stored[name];
  context().extensionSettings[NAME] = stored;
}

type Stored = Partial<Settings> & { savedAt: number };

const savedAt = (stored: unknown) => (isObject(stored) ? Number(stored['savedAt'] ?? 0) : 0);

const channel = new BroadcastChannel(`${NAME}.settings`);

/** What remote programs may do: switched off in one tab, it is off in all of them. */
const rights = ({ policy, functions, slashCommands }: Settings) => ({ policy, functions, slashCommands });

/** Takes over what another tab has changed. */
export function follow(settings: Settings, changed: () => void): void {
  channel.onmessage = ({ data }: MessageEvent<unknown>) => {
    const { policy, functions, slashCommands } = withDefaults(data, settings.clientId);
    Object.assign(settings.policy, policy);
    Object.assign(settings.functions, functions);
    settings.slashCommands = slashCommands;
    // SillyTavern saves all that this tab has, whenever anything changes: what was switched off elsewhere would be
    // on again. Its age stays, for the rest of it is no newer than before.
    keep(settings, savedAt(context().extensionSettings[NAME]));
    changed();
  };
}

function parsed(text: string | null): unknown {
  try {
    return JSON.parse(text ?? '{}');
  } catch {
    return {};
  }
}
