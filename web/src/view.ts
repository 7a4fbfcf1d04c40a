/** The page's elements: shows the model, and reports what the reader does. */
import type { Entry, Output, State } from './answers';
import type { Link } from './broker';
import { type Key, type Language, type Say, translate } from './i18n';

export interface Actions {
  send: (target: string, prompt: string) => void;
  refresh: () => void;
  reconnect: () => void;
  switchLanguage: () => void;
}

const LINKS: Record<Link, Key> = {
  connecting: 'statusConnecting',
  online: 'statusOnline',
  offline: 'statusOffline',
  refused: 'statusRefused',
};

const STATES: Record<State, Key> = {
  sending: 'stateSending',
  waiting: 'stateWaiting',
  answering: 'stateAnswering',
  answered: 'stateAnswered',
  failed: 'stateFailed',
};

interface Card {
  root: HTMLElement;
  who: HTMLElement;
  target: HTMLElement;
  state: HTMLElement;
  answer: HTMLElement;
  error: HTMLElement;
  /** One text node per output: a token is appended, what stands is never written again. */
  texts: Map<string, Text>;
}

export class View {
  readonly #elements = {
    status: find('[data-testid=status]'),
    statusText: find('#status-text'),
    reconnect: find<HTMLButtonElement>('#reconnect'),
    error: find('#error'),
    errorText: find('#error-text'),
    extensions: find('#extensions'),
    noExtensions: find('#no-extensions'),
    select: find<HTMLSelectElement>('#extension-select'),
    log: find('#log'),
    empty: find('#empty'),
    form: find<HTMLFormElement>('#ask'),
    prompt: find<HTMLTextAreaElement>('#prompt'),
    send: find<HTMLButtonElement>('#send'),
    lang: find<HTMLButtonElement>('#lang'),
  };
  readonly #cards = new Map<string, { card: Card; entry: Entry }>();
  readonly #stale = new Set<string>();
  #extensions: string[] | null = null;
  #chosen = '';
  #language: Language;
  #link: Link = 'connecting';
  #error: Say | null = null;

  constructor(language: Language, actions: Actions) {
    const { form, prompt, select, reconnect, lang } = this.#elements;
    this.#language = language;
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      if (prompt.value.trim() !== '') actions.send(this.#chosen, prompt.value);
    });
    prompt.addEventListener('keydown', (event) => {
      // While a Chinese word is being composed, Enter belongs to the input method.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      form.requestSubmit();
    });
    select.addEventListener('change', () => this.#choose(select.value));
    reconnect.addEventListener('click', actions.reconnect);
    lang.addEventListener('click', actions.switchLanguage);
    find('#refresh').addEventListener('click', actions.refresh);
    find('#dismiss').addEventListener('click', () => this.clearError());
    this.speak(language);
    prompt.focus();
  }

  /** Says everything that is on the page in `language`. */
  speak(language: Language): void {
    this.#language = language;
    document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';
    for (const element of document.querySelectorAll<HTMLElement>('[data-i18n]')) {
      element.textContent = this.#say({ key: element.dataset.i18n as Key });
    }
    for (const element of document.querySelectorAll<HTMLElement>('[data-i18n-label]')) {
      element.setAttribute('aria-label', this.#say({ key: element.dataset.i18nLabel as Key }));
    }
    this.#elements.prompt.placeholder = this.#say({ key: 'promptPlaceholder' });
    this.#elements.lang.setAttribute('aria-label', this.#say({ key: 'otherLanguageLabel' }));
    this.#elements.lang.lang = language === 'zh' ? 'en' : 'zh-CN';
    document.title = this.#say({ key: 'title' });
    this.showLink(this.#link);
    if (this.#error) this.showError(this.#error);
    if (this.#extensions) this.#drawExtensions(this.#extensions);
    for (const { card, entry } of this.#cards.values()) this.#draw(card, entry);
  }

  showLink(link: Link): void {
    this.#link = link;
    this.#elements.status.dataset.link = link;
    this.#elements.statusText.textContent = this.#say({ key: LINKS[link] });
    this.#elements.reconnect.hidden = link !== 'refused';
    this.#enable();
  }

  showError(error: Say): void {
    this.#error = error;
    this.#elements.errorText.textContent = this.#say(error);
    this.#elements.error.hidden = false;
  }

  clearError(): void {
    this.#error = null;
    this.#elements.error.hidden = true;
    this.#elements.errorText.textContent = '';
  }

  showExtensions(ids: string[]): void {
    const known = this.#extensions;
    if (known && known.length === ids.length && known.every((id, index) => id === ids[index])) return;
    this.#extensions = ids;
    if (!ids.includes(this.#chosen)) this.#chosen = ids[0] ?? '';
    this.#drawExtensions(ids);
    this.#enable();
  }

  clearPrompt(): void {
    this.#elements.prompt.value = '';
    this.#elements.prompt.focus();
  }

  /** Draws `entry` with the next frame; many tokens may come in between. */
  showEntry(entry: Entry): void {
    this.#elements.empty.hidden = true;
    const known = this.#cards.get(entry.requestId);
    if (!known) {
      const card = this.#card(entry);
      this.#cards.set(entry.requestId, { card, entry });
      this.#elements.log.append(card.root);
      this.#draw(card, entry);
      this.#elements.log.scrollTop = this.#elements.log.scrollHeight;
      return;
    }
    if (this.#stale.size === 0) requestAnimationFrame(() => this.#drawStale());
    this.#stale.add(entry.requestId);
  }

  forget(requestId: string): void {
    this.#cards.get(requestId)?.card.root.remove();
    this.#cards.delete(requestId);
    this.#stale.delete(requestId);
  }

  #drawStale(): void {
    const { log } = this.#elements;
    // Follows the text only while the reader is at its end.
    const follow = log.scrollHeight - log.scrollTop - log.clientHeight < 48;
    for (const requestId of this.#stale) {
      const known = this.#cards.get(requestId);
      if (known) this.#draw(known.card, known.entry);
    }
    this.#stale.clear();
    if (follow) log.scrollTop = log.scrollHeight;
  }

  #draw(card: Card, entry: Entry): void {
    const name = entry.target || '?';
    card.root.dataset.state = entry.state;
    card.who.textContent = this.#say({ key: entry.prompt === null ? 'elsewhere' : 'you' });
    card.target.textContent = entry.target;
    card.state.textContent = this.#say({ key: STATES[entry.state] });
    card.answer.setAttribute('aria-label', this.#say({ key: 'answerOf', fill: { name } }));
    // A screen reader speaks the whole answer once, not every token.
    card.answer.setAttribute('aria-busy', String(entry.state === 'answering'));
    for (const output of entry.outputs) this.#drawOutput(card, output);
    card.error.hidden = entry.error === null;
    card.error.textContent = entry.error ? this.#say(entry.error) : '';
  }

  #drawOutput(card: Card, output: Output): void {
    let node = card.texts.get(output.outputId);
    if (!node) {
      node = document.createTextNode('');
      card.texts.set(output.outputId, node);
      const paragraph = make('div', 'output');
      paragraph.dataset.outputId = output.outputId;
      paragraph.append(node);
      card.answer.append(paragraph);
    }
    if (output.text.length > node.length) node.appendData(output.text.slice(node.length));
  }

  #card(entry: Entry): Card {
    const root = make('article', 'entry');
    root.dataset.testid = 'entry';
    root.dataset.requestId = entry.requestId;
    const asked = make('div', 'asked');
    const who = make('span', 'who');
    asked.append(who);
    if (entry.prompt !== null) {
      const prompt = make('p', 'prompt');
      prompt.textContent = entry.prompt;
      asked.append(prompt);
    }
    const reply = make('div', 'reply');
    const head = make('div', 'reply-head');
    const target = make('span', 'who');
    const state = make('span', 'state');
    state.dataset.testid = 'answer-state';
    head.append(target, state);
    const answer = make('div', 'answer');
    answer.dataset.testid = 'answer';
    answer.dataset.requestId = entry.requestId;
    answer.setAttribute('role', 'log');
    answer.setAttribute('aria-live', 'polite');
    const error = make('p', 'entry-error');
    error.dataset.testid = 'answer-error';
    error.setAttribute('role', 'alert');
    error.hidden = true;
    reply.append(head, answer, error);
    root.append(asked, reply);
    return { root, who, target, state, answer, error, texts: new Map() };
  }

  #drawExtensions(ids: string[]): void {
    const { extensions, select, noExtensions } = this.#elements;
    extensions.replaceChildren(...ids.map((id) => this.#extension(id)));
    noExtensions.hidden = ids.length > 0;
    const options = ids.map((id) => new Option(id, id));
    select.replaceChildren(...(options.length > 0 ? options : [new Option(this.#say({ key: 'nobody' }), '')]));
    this.#choose(this.#chosen);
  }

  #extension(id: string): HTMLElement {
    const item = make('li', '');
    const button = make('button', 'extension') as HTMLButtonElement;
    button.type = 'button';
    button.dataset.extension = id;
    const dot = make('span', 'dot');
    dot.setAttribute('aria-hidden', 'true');
    button.append(dot, id);
    button.addEventListener('click', () => {
      this.#choose(id);
      this.#elements.prompt.focus();
    });
    item.append(button);
    return item;
  }

  #choose(id: string): void {
    this.#chosen = id;
    this.#elements.select.value = id;
    for (const button of this.#elements.extensions.querySelectorAll<HTMLElement>('[data-extension]')) {
      button.setAttribute('aria-pressed', String(button.dataset.extension === id));
    }
  }

  #enable(): void {
    this.#elements.send.disabled = this.#link !== 'online' || this.#chosen === '';
    this.#elements.select.disabled = this.#chosen === '';
  }

  #say(say: Say): string {
    return translate(this.#language, say);
  }
}

function find<E extends HTMLElement = HTMLElement>(selector: string): E {
  const element = document.querySelector<E>(selector);
  if (!element) throw new Error(`the page has no ${selector}`);
  return element;
}

function make(tag: string, className: string): HTMLElement {
  const element = document.createElement(tag);
  if (className !== '') element.className = className;
  return element;
}
