/**
 * Several tabs of one SillyTavern: each has an identity of its own, and a request is answered by one.
 *
 * Tabs share localStorage and a broadcast channel, nothing else. A tab claims each request before it
 * queues it, and keeps the claim while it remembers the answer: a broker that forgets whom it asked may
 * ask another tab, which hands the request over. A claim lives as long as its owner renews it, so that a
 * tab that crashed blocks nobody.
 */
/** One entry a claim: tabs that write at the same moment must not undo each other's. */
const CLAIM = 'newage-broker.claim.';
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

interface Claim {
  tab: string;
  at: number;
}

export class Tabs {
  readonly #tab: string;
  readonly #storage: Storage;
  readonly #channel: BroadcastChannel;

  /** `handedOver`: another tab got a request that is this one's. */
  constructor(tab: string, storage: Storage, handedOver: (payload: unknown) => void) {
    this.#tab = tab;
    this.#storage = storage;
    this.#channel = new BroadcastChannel(CHANNEL);
    this.#channel.onmessage = ({ data }: MessageEvent<{ tab?: string; payload?: unknown }>) => {
      if (data?.tab === tab) handedOver(data.payload);
    };
  }

  /** Claims a request for this tab; if it is another tab's, that one gets its `payload`. */
  async claim(requestId: string, payload: unknown, now = Date.now()): Promise<boolean> {
    const owner = await exclusive(() => {
      const claim = this.#claims(now).get(requestId);
      if (claim && claim.tab !== this.#tab) return claim.tab;
      this.#put(requestId, now);
      return this.#tab;
    });
    if (owner === this.#tab) return true;
    this.#channel.postMessage({ tab: owner, payload });
    return false;
  }

  /** Those that this tab still knows are renewed, its others given up. */
  renew(known: readonly string[], now = Date.now()): void {
    for (const [id, claim] of this.#claims(now)) {
      if (claim.tab === this.#tab && !known.includes(id)) this.#storage.removeItem(CLAIM + id);
    }
    for (const id of known) this.#put(id, now);
  }

  #put(requestId: string, now: number): void {
    this.#storage.setItem(CLAIM + requestId, JSON.stringify({ tab: this.#tab, at: now } satisfies Claim));
  }

  /** All that are alive; the others are removed, and those beyond the bound. */
  #claims(now: number): Map<string, Claim> {
    const claims = new Map<string, Claim>();
    const keys = Array.from({ length: this.#storage.length }, (_, index) => this.#storage.key(index) ?? '');
    for (const key of keys.filter((name) => name.startsWith(CLAIM))) {
      const claim = read(this.#storage.getItem(key));
      if (claim && now - claim.at < STALE_MS && claims.size < MAX_CLAIMS) claims.set(key.slice(CLAIM.length), claim);
      else this.#storage.removeItem(key);
    }
    return claims;
  }
}

function read(text: string | null): Claim | null {
  try {
    const claim = JSON.parse(text ?? 'null') as Partial<Claim> | null;
    return typeof claim?.tab === 'string' && typeof claim.at === 'number' ? (claim as Claim) : null;
  } catch {
    return null;
  }
}

/** One tab at a time, where the page may ask for that: locks exist on HTTPS and on localhost. */
async function exclusive<T>(act: () => T): Promise<T> {
  const locks = (globalThis.navigator as Partial<Navigator> | undefined)?.locks;
  return locks ? locks.request(CHANNEL, act) : act();
}
