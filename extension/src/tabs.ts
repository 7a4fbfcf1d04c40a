/**
 * Several tabs of one SillyTavern: each has an identity of its own, and a request is answered by one.
 *
 * Tabs share localStorage and a broadcast channel, nothing else. A tab claims each request before it
 * queues it; a claim lives as long as its owner renews it, so that a tab that crashed blocks nobody.
 */
const CLAIMS = 'newage-broker.claims';
const SUFFIX = 'newage-broker.suffix';
const CHANNEL = 'newage-broker';
/** Timers of hidden tabs run once a minute at worst. */
const STALE_MS = 150_000;
const MAX_CLAIMS = 512;

/**
 * What distinguishes this tab's identity. It survives a reload: a page that goes leaves it behind for
 * the next one. A duplicated tab starts with a copy of the storage of one that has not gone.
 */
export function tabSuffix(storage: Storage, page: Pick<Window, 'addEventListener'>): string {
  const suffix = storage.getItem(SUFFIX) ?? Math.random().toString(36).slice(2, 8).padEnd(6, '0');
  storage.removeItem(SUFFIX);
  page.addEventListener('pagehide', () => storage.setItem(SUFFIX, suffix));
  return suffix;
}

type Claims = Record<string, { tab: string; at: number }>;

export class Tabs {
  readonly #tab: string;
  readonly #storage: Storage;
  readonly #channel: BroadcastChannel;

  /** `askedAgain`: another tab got a request that this one has claimed. */
  constructor(tab: string, storage: Storage, askedAgain: (requestId: string) => void) {
    this.#tab = tab;
    this.#storage = storage;
    this.#channel = new BroadcastChannel(CHANNEL);
    this.#channel.onmessage = ({ data }: MessageEvent<{ tab?: string; requestId?: string }>) => {
      if (data?.tab === tab && typeof data.requestId === 'string') askedAgain(data.requestId);
    };
  }

  /** Claims a request for this tab; if another tab has it, that one is told. */
  async claim(requestId: string, now = Date.now()): Promise<boolean> {
    const owner = await this.#exclusive(() => {
      const claims = this.#read(now);
      const claim = claims[requestId];
      if (claim && claim.tab !== this.#tab) return claim.tab;
      claims[requestId] = { tab: this.#tab, at: now };
      this.#write(claims);
      return this.#tab;
    });
    if (owner === this.#tab) return true;
    this.#channel.postMessage({ tab: owner, requestId });
    return false;
  }

  /** Those that this tab still works on are renewed, its others given up. */
  renew(working: readonly string[], now = Date.now()): void {
    const claims = this.#read(now);
    for (const [id, claim] of Object.entries(claims)) {
      if (claim.tab === this.#tab) delete claims[id];
    }
    for (const id of working) claims[id] ??= { tab: this.#tab, at: now };
    this.#write(claims);
  }

  #read(now: number): Claims {
    let stored: unknown;
    try {
      stored = JSON.parse(this.#storage.getItem(CLAIMS) ?? '{}');
    } catch {
      stored = {};
    }
    const claims: Claims = Object.create(null);
    for (const [id, claim] of Object.entries(stored ?? {}).slice(-MAX_CLAIMS)) {
      if (typeof claim?.at === 'number' && now - claim.at < STALE_MS) claims[id] = claim;
    }
    return claims;
  }

  #write(claims: Claims): void {
    this.#storage.setItem(CLAIMS, JSON.stringify(claims));
  }

  /** One tab at a time, where the page may ask for that: locks exist on HTTPS and on localhost. */
  async #exclusive<T>(act: () => T): Promise<T> {
    const locks = (globalThis.navigator as Partial<Navigator> | undefined)?.locks;
    return locks ? locks.request(CLAIMS, act) : act();
  }
}
