import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { parseUrl } from '../src/connection';
import { defaultClientId, follow, load, save, type Settings, withDefaults } from '../src/settings';
import { Tabs, tabSuffix } from '../src/tabs';

class MemoryStorage implements Storage {
  #items = new Map<string, string>();
  get length() {
    return this.#items.size;
  }
  clear() {
    this.#items.clear();
  }
  getItem(key: string) {
    return this.#items.get(key) ?? null;
  }
  key(index: number) {
    return [...this.#items.keys()][index] ?? null;
  }
  removeItem(key: string) {
    this.#items.delete(key);
  }
  setItem(key: string, value: string) {
    this.#items.set(key, value);
  }
}

describe('the broker URL', () => {
  test.each([
    ['http://localhost:4000', 'http://localhost:4000', '/socket.io'],
    [' localhost:4000/ ', 'http://localhost:4000', '/socket.io'],
    ['wss://broker.example/app/', 'https://broker.example', '/app/socket.io'],
    ['http://[::1]:4000', 'http://[::1]:4000', '/socket.io'],
  ])('%s', (text, origin, path) => {
    expect(parseUrl(text)).toEqual({ origin, path });
  });

  test.each(['', 'http://', 'ftp://localhost', 'http://a b'])('not %s', (text) => {
    expect(parseUrl(text)).toBeNull();
  });
});

describe('settings', () => {
  test('the client id follows the port of the page', () => {
    expect(defaultClientId({ port: '8001', protocol: 'http:' })).toBe('SillyTavern-8001');
    expect(defaultClientId({ port: '', protocol: 'https:' })).toBe('SillyTavern-443');
    expect(defaultClientId({ port: '', protocol: 'http:' })).toBe('SillyTavern-80');
  });

  test('only functions that change nothing are on by default', () => {
    expect(withDefaults(undefined, 'id').functions).toEqual({
      listCharacters: true,
      getCurrentChat: true,
      getRecentMessages: true,
      switchCharacter: false,
      sendSystemNote: false,
      runSlashCommand: false,
    });
  });

  test('what is stored is kept, what is broken is replaced', () => {
    const stored = { url: 'http://x', key: 7, policy: { chat: false, defaultMode: 'loud' }, functions: { runSlashCommand: true } };
    const settings = withDefaults(stored, 'SillyTavern-1');
    expect(settings).toMatchObject({ url: 'http://x', key: '', clientId: 'SillyTavern-1' });
    expect(settings.policy).toEqual({ quiet: true, chat: false, defaultMode: 'quiet' });
    expect(settings.functions.runSlashCommand).toBe(true);
  });
});

describe('what is switched off in another tab', () => {
  const NAME = 'newage-broker';
  let other: BroadcastChannel;
  let heard: unknown[];
  let extensionSettings: Record<string, unknown>;
  let settings: Settings;

  beforeEach(() => {
    extensionSettings = {};
    vi.stubGlobal('window', { location: { port: '8000', protocol: 'http:' } });
    vi.stubGlobal('sessionStorage', new MemoryStorage());
    vi.stubGlobal('SillyTavern', { getContext: () => ({ extensionSettings, saveSettingsDebounced: () => {} }) });
    other = new BroadcastChannel(`${NAME}.settings`);
    heard = [];
    other.onmessage = ({ data }) => heard.push(data);
    settings = { ...load(), key: 'secret' };
    settings.functions.runSlashCommand = true;
  });
  afterEach(() => {
    other.close();
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  /** Both tabs know the settings; then the other one forbids slash commands. */
  const switchedOff = async () => {
    vi.setSystemTime(1_000);
    save(settings);
    vi.setSystemTime(2_000);
    await vi.waitFor(() => expect(heard).toHaveLength(1));
    const { policy, functions, slashCommands } = settings;
    const changed = new Promise<void>((resolve) => follow(settings, resolve));
    other.postMessage({ policy, functions: { ...functions, runSlashCommand: false }, slashCommands });
    await changed;
  };

  test('is off in what SillyTavern saves of this tab, and after a reload, however old its copy is', async () => {
    await switchedOff();
    expect(extensionSettings[NAME]).toMatchObject({ key: 'secret', functions: { runSlashCommand: false } });
    expect(load().functions.runSlashCommand).toBe(false);
    extensionSettings[NAME] = { savedAt: 0, functions: { runSlashCommand: true } };
    expect(load().functions.runSlashCommand).toBe(false);
  });

  test('is not told again, makes the rest no newer, and gives no secrets away', async () => {
    settings.remember = false;
    await switchedOff();
    expect(extensionSettings[NAME]).toMatchObject({ savedAt: 1_000, remember: false });
    expect(extensionSettings[NAME]).not.toHaveProperty('key');
    expect(load().key).toBe('secret');
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(heard).toHaveLength(1);
  });
});

describe('tabs', () => {
  let storage: MemoryStorage;
  beforeAll(() => {
    storage = new MemoryStorage();
  });

  test('a reload keeps the identity, a duplicate gets its own', () => {
    const own = new MemoryStorage();
    const page = new EventTarget() as unknown as Window;
    const suffix = tabSuffix(own, page);
    expect(suffix).toMatch(/^[a-z0-9]{6}$/);
    // Duplicated while it lives: the copy has no suffix to take over.
    expect(tabSuffix(own, new EventTarget() as unknown as Window)).not.toBe(suffix);
    page.dispatchEvent(new Event('pagehide'));
    expect(tabSuffix(own, new EventTarget() as unknown as Window)).toBe(suffix);
  });

  test('a request belongs to the tab that claims it first, as long as it lives', async () => {
    const handedOver = vi.fn();
    const one = new Tabs('one', storage, handedOver);
    const other = new Tabs('other', storage, () => {});
    expect(await one.claim('r', 'payload', 0)).toBe(true);
    expect(await one.claim('r', 'payload', 0)).toBe(true);
    expect(await other.claim('r', 'payload', 1_000)).toBe(false);
    await vi.waitFor(() => expect(handedOver).toHaveBeenCalledWith('payload'));
    one.renew(['r'], 140_000);
    expect(await other.claim('r', 'payload', 200_000)).toBe(false);
    // It has crashed, and renews nothing.
    expect(await other.claim('r', 'payload', 300_000)).toBe(true);
    other.renew([], 300_000);
    expect(await one.claim('r', 'payload', 300_000)).toBe(true);
  });

  test('claims are bounded, and what is broken among them is removed', async () => {
    const full = new MemoryStorage();
    full.setItem('newage-broker.claim.broken', '{');
    full.setItem('somebody.else', '{');
    const tab = new Tabs('one', full, () => {});
    for (let index = 0; index < 600; index += 1) await tab.claim(`r${index}`, null, 0);
    expect(full.length).toBeLessThanOrEqual(514);
    expect(full.getItem('newage-broker.claim.broken')).toBeNull();
    expect(full.getItem('somebody.else')).toBe('{');
  });
});
