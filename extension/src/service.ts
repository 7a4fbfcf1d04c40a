/**
 * Requests in, answers out. One at a time, each once; what happens to a request when the connection
 * breaks depends on whether the broker that comes back still knows it:
 *
 * - it does: the answer goes on there, from its beginning;
 * - it does not, or may not: a request that has not begun is dropped, one that has is finished for the
 *   chat's sake. Its answer waits, bounded in number and time, for the same request to be sent again.
 *   Whoever asked is told, in case that the broker does still wait.
 *
 * Never is an answer sent under an id that the broker does not know: it would take it for the answer to
 * another request (spec §5.4). An `ERROR` about such a request it ignores.
 */
import { Answer, type Outcome } from './answer';
import { type Generated, type Job, GenerationError } from './generate';
import { AnswerMemory } from './memory';
import { modeFor, type Policy } from './policy';
import { RequestQueue } from './queue';
import { type Mode, readRequest, type Request, sameRequest } from './request';
import { EVENT } from './protocol';
import type { Line } from './connection';

export interface Task {
  requestId: string;
  request: Request;
  answer: Answer;
  /** The broker is known to wait for the answer. */
  awaited: boolean;
}

export interface Dependencies {
  clientId(): string;
  policy(): Policy;
  generate(job: Job, onDelta: (text: string) => void): Promise<Generated>;
  /** Whether this tab, and no other, answers this request; another one gets it handed over. */
  claim(requestId: string, payload: unknown): Promise<boolean>;
  newId(): string;
  now(): number;
  /** Something that the panel shows has changed. */
  changed(): void;
  failed(reason: string, clientId: string): void;
}

/** As many as a broker lets wait for one extension, by default. */
const MAX_WAITING = 256;
const MEMORY = { entries: 64, size: 4_000_000, ageMs: 600_000 };
/** Far more than a connection that lives for a moment can bring; the oldest is forgotten first. */
const MAX_DISOWNED = 1_024;
const LOST = 'SillyTavern was disconnected from the broker.';

export class Service {
  readonly #deps: Dependencies;
  readonly #queue = new RequestQueue<Task>(MAX_WAITING);
  readonly #memory = new AnswerMemory<Request, Outcome>(MEMORY);
  #line: Line | null = null;
  /** An answer that was done while there was no connection. At most one: without one, none begins. */
  #undelivered: Answer | null = null;
  /** Requests that were given up, and why: who asked may have to be told. */
  readonly #disowned = new Map<string, string>();
  /** What other tabs have handed over meanwhile. */
  #handedOver: unknown[] = [];
  answered = 0;

  constructor(deps: Dependencies) {
    this.#deps = deps;
  }

  get running(): Task | null {
    return this.#queue.running;
  }

  get waiting(): readonly Task[] {
    return this.#queue.waiting;
  }

  /** Ids that this tab works on, or remembers the answer to. */
  get known(): string[] {
    const working = this.#tasks.map(({ requestId }) => requestId);
    return [...working, ...this.#memory.ids(this.#deps.now())];
  }

  /** Ids of which somebody may wait to hear from this tab. */
  get owed(): string[] {
    const awaited = [this.#undelivered, ...this.#tasks.filter((task) => task.awaited)];
    return [...awaited.flatMap((one) => one?.requestId ?? []), ...this.#disowned.keys()];
  }

  get #tasks(): Task[] {
    const { running, waiting } = this.#queue;
    return running ? [running, ...waiting] : [...waiting];
  }

  lineUp(line: Line): void {
    this.#line = line;
    const { running } = this.#queue;
    if (line.resumed) {
      this.#undelivered?.attach(line);
      if (running?.awaited) running.answer.attach(line);
    } else {
      this.disown(this.owed, LOST);
      if (running) running.awaited = false;
      this.#queue.drop(() => true);
    }
    this.#undelivered = null;
    this.#deps.changed();
    for (const payload of this.#handedOver.splice(0)) void this.request(payload);
    this.#advance();
  }

  lineDown(): void {
    this.#line = null;
    this.#queue.running?.answer.detach();
    this.#deps.changed();
  }

  async request(payload: unknown): Promise<void> {
    const line = this.#line;
    const read = readRequest(payload);
    if (typeof read === 'string') {
      this.#deps.failed(read, '');
      return;
    }
    // Sent again, if it is known: the broker has forgotten it, and now waits for the answer once more.
    if (this.#disowned.delete(read.requestId)) this.#deps.changed();
    const queued = this.#queue.find(read.requestId);
    if (queued) {
      queued.awaited = true;
      if (queued === this.#queue.running && line) queued.answer.attach(line);
      return;
    }
    const known = this.#memory.get(read.requestId, this.#deps.now());
    if (known && sameRequest(known.request, read) && line) {
      this.#answer(read.requestId, known.answer).attach(line);
      return;
    }
    if (!(await this.#deps.claim(read.requestId, payload))) return;
    // While other tabs were asked, the same request may have come again, or the connection have gone.
    if (this.#queue.find(read.requestId)) return;
    if (line === null || line !== this.#line) {
      this.disown([read.requestId], LOST);
      return;
    }
    const answer = this.#answer(read.requestId);
    const task: Task = { requestId: read.requestId, request: read, answer, awaited: true };
    if (!this.#queue.add(task)) {
      this.#answer(read.requestId, { kind: 'failed', reason: 'Too many pending requests.' }).attach(line);
      return;
    }
    this.#deps.changed();
    this.#advance();
  }

  /** Another tab got a request that is this one's; it may have no connection yet. */
  handOver(payload: unknown): void {
    if (this.#line !== null) void this.request(payload);
    else if (this.#handedOver.length < MAX_WAITING) this.#handedOver.push(payload);
  }

  /** An open stream must not look abandoned while the model thinks. */
  keepAlive(): void {
    this.#queue.running?.answer.keepAlive();
  }

  /** The page goes: whoever waits is told now, not after the broker's patience. */
  abandon(reason: string): void {
    this.disown(this.owed, reason);
    this.#tellDisowned();
    this.#line = null;
  }

  /** Gives requests up. Whoever asked is told later, unless they have asked again by then. */
  disown(requestIds: readonly string[], reason: string): void {
    for (const id of requestIds) {
      if (!this.#disowned.has(id)) this.#disowned.set(id, reason);
      const [oldest = ''] = this.#disowned.keys();
      if (this.#disowned.size > MAX_DISOWNED) this.#disowned.delete(oldest);
    }
    this.#deps.changed();
  }

  /** The line has been up for a while: who has not asked again on it by now is told. */
  settled(line: Line): void {
    if (line === this.#line) this.#tellDisowned();
  }

  #tellDisowned(): void {
    if (this.#line === null || this.#disowned.size === 0) return;
    for (const [requestId, reason] of this.#disowned) this.#fail(requestId, reason);
    this.#disowned.clear();
    this.#deps.changed();
  }

  /** Tells the broker that a request has failed; about one that it does not know this is ignored there. */
  #fail(requestId: string, reason: string): void {
    const clientId = this.#deps.clientId();
    this.#line?.send(EVENT.error, {
      type: EVENT.error,
      message: reason,
      requestId,
      clientId,
      source: clientId,
      target: 'server',
    });
  }

  #answer(requestId: string, outcome: Outcome | null = null): Answer {
    return new Answer(requestId, this.#deps.clientId(), this.#deps.newId, outcome);
  }

  #advance(): void {
    if (this.#line === null) return;
    const task = this.#queue.next();
    if (task === null) return;
    task.answer.attach(this.#line);
    void this.#run(task);
  }

  async #run(task: Task): Promise<void> {
    this.#deps.changed();
    const allowed = modeFor(task.request, this.#deps.policy());
    const outcome = 'refusal' in allowed ? failed(allowed.refusal) : await this.#generate(task, allowed.mode);
    if (this.#line === null && task.awaited) this.#undelivered = task.answer;
    task.answer.finish(outcome);
    if (outcome.kind === 'failed') this.#deps.failed(outcome.reason, task.request.clientId);
    else {
      this.answered += 1;
      this.#memory.put(task.request, outcome, outcome.text.length, this.#deps.now());
    }
    this.#queue.done();
    this.#deps.changed();
    this.#advance();
  }

  async #generate(task: Task, mode: Mode): Promise<Outcome> {
    const { text, clientId, regenerate } = task.request;
    try {
      const generated = await this.#deps.generate({ mode, text, clientId, regenerate }, (delta) => {
        task.answer.delta(delta);
      });
      if (generated.streamed) return { kind: 'streamed', text: '' };
      return { kind: 'whole', text: generated.text };
    } catch (error) {
      return failed(error instanceof GenerationError ? error.message : 'The generation failed.');
    }
  }
}

const failed = (reason: string): Outcome => ({ kind: 'failed', reason });
