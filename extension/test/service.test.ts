import { beforeEach, describe, expect, test } from 'vitest';
import type { Line } from '../src/connection';
import { type Generated, GenerationError, type Job } from '../src/generate';
import { Service } from '../src/service';

class FakeLine implements Line {
  sent: { event: string; payload: Record<string, unknown> }[] = [];
  constructor(readonly resumed = false) {}
  send(event: string, payload: object) {
    this.sent.push({ event, payload: payload as Record<string, unknown> });
  }
  text(requestId: string) {
    return this.sent.filter(({ payload }) => payload['requestId'] === requestId).map(({ payload }) => payload['data'] ?? '').join('');
  }
  ends() {
    return this.sent.filter(({ payload }) => payload['final'] === true).map(({ payload }) => payload['requestId']);
  }
  errors() {
    return this.sent.filter(({ event }) => event === 'ERROR').map(({ payload }) => [payload['requestId'], payload['message']]);
  }
}

/** A generation that the test drives. */
interface Running {
  job: Job;
  say(text: string): void;
  end(): void;
  fail(reason: string): void;
}

let jobs: Running[];
let foreign: Set<string>;
/** What a claim waits for. */
let claiming: Promise<void>;
let service: Service;
let line: FakeLine;

const tick = () => new Promise((resolve) => setTimeout(resolve, 0));
const ask = async (requestId: string, message = requestId, clientId = 'app') => {
  await service.request({ requestId, message, clientId });
  await tick();
};

beforeEach(() => {
  jobs = [];
  foreign = new Set();
  claiming = Promise.resolve();
  let ids = 0;
  service = new Service({
    clientId: () => 'SillyTavern-8000',
    policy: () => ({ quiet: true, chat: false, defaultMode: 'quiet' }),
    generate: (job, onDelta) =>
      new Promise<Generated>((resolve, reject) => {
        jobs.push({
          job,
          say: onDelta,
          end: () => resolve({ streamed: true }),
          fail: (reason) => reject(new GenerationError(reason)),
        });
      }),
    claim: async (requestId) => claiming.then(() => !foreign.has(requestId)),
    newId: () => `id${(ids += 1)}`,
    now: () => 0,
    changed: () => {},
    failed: () => {},
  });
  line = new FakeLine();
  service.lineUp(line);
});

describe('requests', () => {
  test('are answered one at a time, in order, each under its own id', async () => {
    await ask('r1');
    await ask('r2', 'r2', 'bot');
    await ask('r3');
    expect(jobs.map(({ job }) => job.text)).toEqual(['r1']);
    expect(service.waiting.map(({ request }) => request.clientId)).toEqual(['bot', 'app']);
    for (const index of [0, 1, 2]) {
      jobs[index]!.say(`answer ${index}`);
      jobs[index]!.end();
      await tick();
    }
    expect(jobs).toHaveLength(3);
    expect(['r1', 'r2', 'r3'].map((id) => line.text(id))).toEqual(['answer 0', 'answer 1', 'answer 2']);
    expect(line.ends()).toEqual(['r1', 'r2', 'r3']);
  });

  test('sent twice are answered once: waiting, running and answered', async () => {
    await ask('r1');
    await ask('r1');
    await ask('r2');
    await ask('r2');
    jobs[0]!.say('one');
    jobs[0]!.end();
    await tick();
    jobs[1]!.end();
    await tick();
    expect(jobs).toHaveLength(2);
    await ask('r1');
    expect(jobs).toHaveLength(2);
    expect(line.ends().filter((id) => id === 'r1')).toHaveLength(2);
    // Another question under a used id is another request.
    await ask('r1', 'something else');
    expect(jobs).toHaveLength(3);
  });

  test('that fail say why, and the next one is served', async () => {
    await ask('r1');
    await ask('r2');
    jobs[0]!.fail('no model');
    await tick();
    expect(line.errors()).toEqual([['r1', 'no model']]);
    expect(jobs).toHaveLength(2);
  });

  test('that may not be answered never reach the model', async () => {
    await service.request({ requestId: 'r1', message: 'hi', mode: 'chat' });
    await tick();
    expect(jobs).toHaveLength(0);
    expect(line.errors()).toEqual([['r1', 'Access denied: chat mode is switched off in SillyTavern.']]);
  });

  test('beyond the bound are refused', async () => {
    for (let index = 0; index < 258; index += 1) await service.request({ requestId: `r${index}`, message: 'x' });
    expect(line.errors()).toEqual([['r257', 'Too many pending requests.']]);
  });

  test('that another tab answers are left to it', async () => {
    foreign.add('r1');
    await ask('r1');
    expect(jobs).toHaveLength(0);
    expect(line.sent).toEqual([]);
  });
});

describe('a connection that breaks', () => {
  test('for a moment: the answer starts over on the next, and those that wait stay', async () => {
    await ask('r1');
    await ask('r2');
    jobs[0]!.say('Hel');
    service.lineDown();
    jobs[0]!.say('lo');
    const next = new FakeLine(true);
    service.lineUp(next);
    jobs[0]!.say('!');
    jobs[0]!.end();
    await tick();
    expect(next.text('r1')).toBe('Hello!');
    expect(jobs[1]!.job.text).toBe('r2');
  });

  test.each(['streamed', 'failed'])('for a moment, in which the answer is done: it goes out on the next (%s)', async (how) => {
    await ask('r1');
    jobs[0]!.say('Hello');
    service.lineDown();
    if (how === 'streamed') jobs[0]!.end();
    else jobs[0]!.fail('no model');
    await tick();
    const next = new FakeLine(true);
    service.lineUp(next);
    expect([next.text('r1'), next.ends(), next.errors()]).toEqual(
      how === 'streamed' ? ['Hello', ['r1'], []] : ['', [], [['r1', 'no model']]],
    );
    service.lineDown();
    const after = new FakeLine(true);
    service.lineUp(after);
    expect(after.sent).toEqual([]);
  });

  test('with the broker: nothing is sent under an id that it does not know', async () => {
    await ask('r1');
    await ask('r2');
    jobs[0]!.say('Hel');
    service.lineDown();
    const next = new FakeLine(false);
    service.lineUp(next);
    expect(service.waiting).toEqual([]);
    jobs[0]!.say('lo');
    await ask('r3');
    jobs[0]!.end();
    await tick();
    expect(next.sent).toEqual([]);
    jobs[1]!.say('third');
    expect(next.text('r3')).toBe('third');
    // Sent again after all: the answer is there, and is not generated again.
    await ask('r1');
    expect(next.text('r1')).toBe('Hello');
    expect(jobs).toHaveLength(2);
  });

  test('with the broker, and the request is sent again while it is answered', async () => {
    await ask('r1');
    jobs[0]!.say('Hel');
    service.lineDown();
    const next = new FakeLine(false);
    service.lineUp(next);
    await ask('r1');
    expect(next.text('r1')).toBe('Hel');
    jobs[0]!.say('lo');
    jobs[0]!.end();
    await tick();
    expect(next.text('r1')).toBe('Hello');
    expect(next.ends()).toEqual(['r1']);
  });

  const LOST = 'SillyTavern was disconnected from the broker.';

  test('for long: whoever waits for what was given up is told, once', async () => {
    await ask('r1');
    await ask('r2');
    jobs[0]!.say('Hel');
    service.lineDown();
    const next = new FakeLine(false);
    service.lineUp(next);
    service.settled(line);
    expect(next.sent).toEqual([]);
    service.settled(next);
    expect(next.errors()).toEqual([
      ['r1', LOST],
      ['r2', LOST],
    ]);
    service.settled(next);
    jobs[0]!.end();
    await tick();
    expect(next.sent).toHaveLength(2);
    expect(service.owed).toEqual([]);
  });

  test('for long, in which the answer is done: its requester is told, too', async () => {
    await ask('r1');
    jobs[0]!.say('Hello');
    service.lineDown();
    jobs[0]!.end();
    await tick();
    expect(service.owed).toEqual(['r1']);
    const next = new FakeLine(false);
    service.lineUp(next);
    service.settled(next);
    expect(next.errors()).toEqual([['r1', LOST]]);
  });

  test('for long: whoever asks again in time is answered and not told', async () => {
    await ask('r1');
    await ask('r2');
    await ask('r3');
    service.lineDown();
    const next = new FakeLine(false);
    service.handOver({ requestId: 'r1', message: 'r1', clientId: 'app' });
    service.lineUp(next);
    await ask('r2');
    service.settled(next);
    expect(next.errors()).toEqual([['r3', LOST]]);
    jobs[0]!.say('one');
    jobs[0]!.end();
    await tick();
    expect(next.text('r1')).toBe('one');
    expect(jobs[1]!.job.text).toBe('r2');
  });

  test('twice, before anybody was told: they are told on the next', async () => {
    await ask('r1');
    service.lineDown();
    service.lineUp(new FakeLine(false));
    service.lineDown();
    expect(service.owed).toEqual(['r1']);
    const next = new FakeLine(true);
    service.lineUp(next);
    jobs[0]!.say('Hello');
    jobs[0]!.end();
    await tick();
    service.settled(next);
    expect(next.sent).toHaveLength(1);
    expect(next.errors()).toEqual([['r1', LOST]]);
  });

  test('for long, and then for a moment: what was given up is not answered after all', async () => {
    await ask('r1');
    jobs[0]!.say('Hel');
    service.lineDown();
    const next = new FakeLine(false);
    service.lineUp(next);
    service.settled(next);
    service.lineDown();
    const after = new FakeLine(true);
    service.lineUp(after);
    jobs[0]!.say('lo');
    service.lineDown();
    jobs[0]!.end();
    await tick();
    const last = new FakeLine(true);
    service.lineUp(last);
    expect([...after.sent, ...last.sent]).toEqual([]);
  });

  test('while other tabs are asked whose a request is: its requester is told', async () => {
    let claimed = () => {};
    claiming = new Promise((resolve) => (claimed = resolve));
    const asked = ask('r1');
    service.lineDown();
    const next = new FakeLine(true);
    service.lineUp(next);
    claimed();
    await asked;
    service.settled(next);
    expect(jobs).toHaveLength(0);
    expect(next.errors()).toEqual([['r1', LOST]]);
  });

  test('again and again: of those who wait no more than a bound are remembered', () => {
    service.disown(Array.from({ length: 1_100 }, (_, index) => `r${index}`), 'reloaded');
    expect(service.owed).toHaveLength(1_024);
    expect(service.owed.at(-1)).toBe('r1099');
  });

  test('and a request that another tab hands over waits for the next', async () => {
    await ask('r1');
    jobs[0]!.say('Hello');
    jobs[0]!.end();
    await tick();
    service.lineDown();
    service.handOver({ requestId: 'r1', message: 'r1', clientId: 'app' });
    service.handOver({ requestId: 'r2', message: 'r2', clientId: 'app' });
    await tick();
    expect(jobs).toHaveLength(1);
    const next = new FakeLine(false);
    service.lineUp(next);
    await tick();
    expect(next.text('r1')).toBe('Hello');
    expect(jobs.map(({ job }) => job.text)).toEqual(['r1', 'r2']);
    expect(service.known).toEqual(['r2', 'r1']);
  });

  test('nothing begins while there is none', async () => {
    await ask('r1');
    await ask('r2');
    service.lineDown();
    jobs[0]!.end();
    await tick();
    expect(jobs).toHaveLength(1);
    service.lineUp(new FakeLine(true));
    await tick();
    expect(jobs).toHaveLength(2);
  });

  test('because the page goes: whoever waits is told', async () => {
    await ask('r1');
    await ask('r2');
    service.abandon('the tab was closed');
    expect(line.errors()).toEqual([
      ['r1', 'the tab was closed'],
      ['r2', 'the tab was closed'],
    ]);
  });
});
