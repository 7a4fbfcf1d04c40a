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

export function load(): Settings {
  const { extensionSettings } = context();
  const clientId = defaultClientId(window.location);
  const settings = withDefaults(extensionSettings[NAME], clientId);
  if (settings.remember) return settings;
  const tab = withDefaults(parsed(sessionStorage.getItem(NAME)), clientId);
  return { ...settings, key: tab.key, connect: tab.connect };
}

export function save(settings: Settings): void {
  const { extensionSettings, saveSettingsDebounced } = context();
  // The default follows the port of the page, so it is not stored.
  const clientId = settings.clientId === defaultClientId(window.location) ? '' : settings.clientId;
  const stored: Partial<Settings> = { ...settings, clientId };
  if (!settings.remember) for (const name of SECRET) delete stored[name];
  extensionSettings[NAME] = stored;
  sessionStorage.setItem(NAME, JSON.stringify({ key: settings.key, connect: settings.connect }));
  saveSettingsDebounced();
}

function parsed(text: string | null): unknown {
  try {
    return JSON.parse(text ?? '{}');
  } catch {
    return {};
  }
}
