/** The panel in SillyTavern's extension drawer. Shows what it is told, and says what the user wants. */
import html from './panel.html?raw';
import type { State } from './connection';
import { FUNCTIONS, type FunctionName } from './functions';
import { isMode } from './request';
import type { Settings } from './settings';
import { tr } from './sillytavern';

export interface Activity {
  running: { clientId: string } | null;
  waiting: readonly { clientId: string }[];
  answered: number;
}

export interface Wishes {
  connect(): void;
  disconnect(): void;
  changed(): void;
  generateKey(clientId: string): Promise<string>;
  revokeKey(clientId: string): Promise<void>;
  listClients(): Promise<string[]>;
}

const MAX_ERRORS = 5;
const MAX_LISTED = 8;

export class Panel {
  readonly #root: HTMLElement;
  readonly #settings: Settings;
  readonly #wishes: Wishes;
  #state: State = { name: 'off' };
  #activity: Activity = { running: null, waiting: [], answered: 0 };
  /** Put the settings into the fields again. */
  readonly #shown: (() => void)[] = [];
  #errors: { at: Date; text: string; times: number }[] = [];

  constructor(parent: HTMLElement, settings: Settings, wishes: Wishes) {
    this.#settings = settings;
    this.#wishes = wishes;
    const template = document.createElement('template');
    template.innerHTML = html.trim();
    this.#root = template.content.firstElementChild as HTMLElement;
    this.#addFunctions();
    this.#bindSettings();
    this.#bindButtons();
    parent.append(this.#root);
    this.#render();
  }

  state(state: State): void {
    this.#state = state;
    this.#render();
  }

  activity(activity: Activity): void {
    this.#activity = activity;
    this.#render();
  }

  /** The settings have changed elsewhere. */
  refresh(): void {
    for (const show of this.#shown) show();
  }

  error(text: string): void {
    const last = this.#errors[0];
    if (last?.text === text) {
      last.times += 1;
      last.at = new Date();
    } else {
      this.#errors = [{ at: new Date(), text, times: 1 }, ...this.#errors].slice(0, MAX_ERRORS);
    }
    this.#renderErrors();
  }

  #find<T extends HTMLElement>(name: string): T {
    const found = this.#root.querySelector<T>(`[data-newage="${name}"]`);
    if (!found) throw new Error(`the panel has ${name}`);
    return found;
  }

  #addFunctions(): void {
    for (const [name, { label }] of Object.entries(FUNCTIONS)) {
      const row = document.createElement('label');
      row.className = 'checkbox_label';
      row.title = name;
      const box = document.createElement('input');
      box.type = 'checkbox';
      box.dataset['newage'] = `function-${name}`;
      const text = document.createElement('span');
      text.dataset['i18n'] = label;
      text.textContent = tr(label);
      row.append(box, text);
      this.#find('functions').append(row);
    }
  }

  #bindSettings(): void {
    const settings = this.#settings;
    const text = (name: string, get: () => string, set: (value: string) => void) => {
      const input = this.#find<HTMLInputElement>(name);
      const show = () => void (input.value = get());
      this.#shown.push(show);
      input.addEventListener('change', () => {
        set(input.value.trim());
        show();
        this.#wishes.changed();
      });
    };
    const flag = (name: string, get: () => boolean, set: (value: boolean) => void) => {
      const input = this.#find<HTMLInputElement>(name);
      this.#shown.push(() => void (input.checked = get()));
      input.addEventListener('change', () => {
        set(input.checked);
        this.#wishes.changed();
      });
    };
    const { policy, functions } = settings;
    text('url', () => settings.url, (value) => (settings.url = value || 'http://localhost:4000'));
    text('client-id', () => settings.clientId, (value) => (settings.clientId = value || settings.clientId));
    text('key', () => settings.key, (value) => (settings.key = value));
    text('slash-commands', () => settings.slashCommands, (value) => (settings.slashCommands = value));
    flag('remember', () => settings.remember, (value) => (settings.remember = value));
    flag('quiet', () => policy.quiet, (value) => (policy.quiet = value));
    flag('chat', () => policy.chat, (value) => (policy.chat = value));
    for (const name of Object.keys(FUNCTIONS) as FunctionName[]) {
      flag(`function-${name}`, () => functions[name], (value) => (functions[name] = value));
    }
    const mode = this.#find<HTMLSelectElement>('default-mode');
    this.#shown.push(() => void (mode.value = policy.defaultMode));
    mode.addEventListener('change', () => {
      if (isMode(mode.value)) policy.defaultMode = mode.value;
      this.#wishes.changed();
    });
    this.refresh();
  }

  #bindButtons(): void {
    this.#press('connect', () => {
      if (this.#state.name === 'off') this.#wishes.connect();
      else this.#wishes.disconnect();
    });
    this.#press('errors-clear', () => {
      this.#errors = [];
      this.#renderErrors();
    });
    const client = this.#find<HTMLInputElement>('key-client');
    client.addEventListener('focus', () => void this.#suggestClients());
    this.#press('key-generate', () => this.#administer(async (clientId) => {
      this.#find<HTMLInputElement>('key-result').value = await this.#wishes.generateKey(clientId);
      this.#find('key-row').hidden = false;
      return tr('The key of ${0}. It is shown only now; an older one is no longer valid.', clientId);
    }));
    this.#press('key-revoke', () => this.#administer(async (clientId) => {
      await this.#wishes.revokeKey(clientId);
      return tr('${0} has no key any more.', clientId);
    }));
    this.#press('key-copy', () => void this.#copy());
  }

  #press(name: string, act: () => void): void {
    const button = this.#find(name);
    button.addEventListener('click', act);
    button.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' && event.key !== ' ') return;
      event.preventDefault();
      act();
    });
  }

  async #administer(act: (clientId: string) => Promise<string>): Promise<void> {
    const note = this.#find('key-note');
    const clientId = this.#find<HTMLInputElement>('key-client').value.trim();
    this.#find('key-row').hidden = true;
    this.#find<HTMLInputElement>('key-result').value = '';
    if (clientId === '') {
      note.textContent = tr('Whose key? Enter a client id.');
      return;
    }
    try {
      note.textContent = await act(clientId);
    } catch (error) {
      note.textContent = tr((error as Error).message);
    }
  }

  async #copy(): Promise<void> {
    const result = this.#find<HTMLInputElement>('key-result');
    try {
      await navigator.clipboard.writeText(result.value);
    } catch {
      // Without HTTPS or localhost there is no clipboard to write to, but a selection can be copied.
      result.select();
      document.execCommand('copy');
    }
    this.#find('key-note').textContent = tr('Copied.');
  }

  async #suggestClients(): Promise<void> {
    const ids = await this.#wishes.listClients().catch(() => []);
    this.#find('clients').replaceChildren(...ids.map((id) => new Option(id, id)));
  }

  #render(): void {
    const { running, waiting, answered } = this.#activity;
    const state = this.#state;
    this.#root.dataset['state'] = running ? 'generating' : state.name;
    const words: Record<State['name'], () => string> = {
      off: () => tr('Not connected'),
      connecting: () => tr('Connecting…'),
      online: () => (running ? tr('Generating for ${0}', running.clientId) : tr('Connected, waiting for requests')),
      unreachable: () => tr('The broker cannot be reached; trying again…'),
      refused: () => tr('The broker refuses this client: ${0}', 'detail' in state ? tr(state.detail) : ''),
    };
    this.#find('state').textContent = words[state.name]();
    const activity: string[] = [];
    if (running && state.name !== 'online') activity.push(tr('Still generating for ${0}', running.clientId));
    if (waiting.length > 0) activity.push(tr('${0} waiting', waiting.length));
    if (answered > 0) activity.push(tr('${0} answered', answered));
    if (state.name === 'refused') activity.push(tr('It is trusted by a file in the settings folder of the broker.'));
    this.#find('activity').textContent = activity.join(' · ');
    this.#find('connect-label').textContent = state.name === 'off' ? tr('Connect') : tr('Disconnect');

    const queue = this.#find('queue');
    queue.hidden = waiting.length === 0;
    const rows = waiting.slice(0, MAX_LISTED).map(({ clientId }) => item(clientId));
    if (waiting.length > MAX_LISTED) rows.push(item(tr('and ${0} more', waiting.length - MAX_LISTED)));
    queue.replaceChildren(...rows);
  }

  #renderErrors(): void {
    this.#find('errors-block').hidden = this.#errors.length === 0;
    this.#find('errors').replaceChildren(
      ...this.#errors.map(({ at, text, times }) => {
        const time = document.createElement('time');
        time.textContent = at.toLocaleTimeString();
        const row = item(` ${text}${times > 1 ? ` (×${times})` : ''}`);
        row.prepend(time);
        return row;
      }),
    );
  }
}

/** Text from elsewhere is never markup. */
function item(text: string): HTMLLIElement {
  const row = document.createElement('li');
  row.textContent = text;
  return row;
}
