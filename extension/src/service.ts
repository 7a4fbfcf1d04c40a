/**
 * Requests in, answers out. One at a time, each once; what happens to a request when the connection
 * breaks depends on whether the broker that comes back still knows it:
 *
 * - it does: the answer goes on there, from its beginning;
 * - it does not: a request that has not begun is dropped, one that has is finished for the chat's sake.
 *   Its answer waits, bounded in number and time, for the same request to be sent again.
 *
 * Never is an answer sent under an id that the broker does not know: it would take it for the answer to
 * another request (spec §5.4).
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

export class Service {
  readonly #deps: Dependencies;
  readonly #queue = new RequestQueue<Task>(MAX_WAITING);
  readonly #memory = new AnswerMemory<Request, Outcome>(MEMORY);
  #line: Line | null = null;
  /** An answer that was done while there was no connection. At most one: without one, none begins. */
  #undelivered: Answer | null = null;
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
    return [...this.working, ...this.#memory.ids(this.#deps.now())];
  }

  /** Ids that this tab works on. */
  get working(): string[] {
    return [this.#queue.running, ...this.#queue.waiting].flatMap((task) => task?.requestId ?? []);
  }

  lineUp(line: Line): void {
    this.#line = line;
    if (line.resumed) {
      this.#undelivered?.attach(line);
      this.#queue.running?.answer.attach(line);
    } else {
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
    const queued = this.#queue.find(read.requestId);
    if (queued) {
      // Sent again: the broker has forgotten it, and now waits for the answer once more.
      if (queued === this.#queue.running && line) queued.answer.attach(line);
      return;
    }
    const known = this.#memory.get(read.requestId, this.#deps.now());
    if (known && sameRequest(known.request, read) && line) {
      this.#answer(read.requestId, known.answer).attach(line);
      return;
    }
    if (!(await this.#deps.claim(read.requestId, payload))) return;
    // While other tabs were asked, the connection may have gone, or the same request come again.
    if (line === null || line !== this.#line || this.#queue.find(read.requestId)) return;
    const task: Task = { requestId: read.requestId, request: read, answer: this.#answer(read.requestId) };
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
    for (const requestId of this.working) this.fail(requestId, reason);
    this.#line = null;
  }

  /** Tells the broker that a request has failed; about one that it does not know this is ignored there. */
  fail(requestId: string, reason: string): void {
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
    if (this.#line === null) this.#undelivered = task.answer;
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
