import { describe, expect, test } from 'vitest';
import { Answer, type Wire } from '../src/answer';

/** A connection that remembers what was sent, and puts streams together again as a reader would. */
class Line implements Wire {
  sent: { event: string; payload: Record<string, unknown> }[] = [];
  send(event: string, payload: object) {
    this.sent.push({ event, payload: payload as Record<string, unknown> });
  }
  get events() {
    return this.sent.map(({ event }) => event.replace('CLIENT_STREAM_', ''));
  }
  get text() {
    return this.sent.map(({ payload }) => payload['data'] ?? '').join('');
  }
  values(field: string) {
    return [...new Set(this.sent.map(({ payload }) => payload[field]).filter((value) => value !== undefined))];
  }
}

function answer() {
  let ids = 0;
  return new Answer('r1', 'SillyTavern-8000', () => `id${(ids += 1)}`);
}

describe('an answer', () => {
  test('is one stream, with rising indexes, and a final end', () => {
    const line = new Line();
    const one = answer();
    one.attach(line);
    one.delta('Hello ');
    one.delta('');
    one.delta('😀');
    one.finish({ kind: 'streamed', text: '' });
    expect(line.events).toEqual(['START', 'DATA_FIRST', 'DATA_MIDDLE', 'END']);
    expect(line.sent.map(({ payload }) => payload['type'])).toEqual([1, 4, 5, 3]);
    expect(line.values('chunkIndex')).toEqual([0, 1]);
    expect(line.values('streamId')).toHaveLength(1);
    expect(line.values('outputId')).toHaveLength(1);
    expect(line.values('requestId')).toEqual(['r1']);
    expect(line.values('final')).toEqual([true]);
    expect(line.values('numStreams')).toEqual([]);
    expect(line.text).toBe('Hello 😀');
  });

  test('in one piece is a message', () => {
    const line = new Line();
    const one = answer();
    one.attach(line);
    one.finish({ kind: 'whole', text: 'all of it' });
    expect(line.sent).toEqual([
      {
        event: 'message',
        payload: {
          type: 0,
          data: 'all of it',
          requestId: 'r1',
          outputId: 'id1',
          clientId: 'SillyTavern-8000',
          source: 'SillyTavern-8000',
          target: 'server',
        },
      },
    ]);
  });

  test('that failed is an error, once, also in the middle of its stream', () => {
    const line = new Line();
    const one = answer();
    one.attach(line);
    one.delta('Hel');
    one.finish({ kind: 'failed', reason: 'the model is on fire' });
    one.finish({ kind: 'streamed', text: '' });
    one.delta('lo');
    expect(line.events).toEqual(['START', 'DATA_FIRST', 'ERROR']);
    expect(line.sent[2]!.payload).toMatchObject({ type: 'ERROR', message: 'the model is on fire', requestId: 'r1' });
  });

  test('begins again on another connection, as another output', () => {
    const [first, second] = [new Line(), new Line()];
    const one = answer();
    one.attach(first);
    one.delta('Hel');
    one.detach();
    one.delta('lo');
    one.attach(second);
    one.delta('!');
    one.finish({ kind: 'streamed', text: '' });
    expect(first.text).toBe('Hel');
    expect(second.text).toBe('Hello!');
    expect(second.events).toEqual(['START', 'DATA_FIRST', 'DATA_MIDDLE', 'END']);
    expect(second.values('outputId')).not.toEqual(first.values('outputId'));
  });

  test('that ended without a connection is given to the next', () => {
    const line = new Line();
    const one = answer();
    one.delta('Hello');
    one.finish({ kind: 'streamed', text: '' });
    expect(one.outcome).toEqual({ kind: 'streamed', text: 'Hello' });
    one.attach(line);
    expect(line.events).toEqual(['START', 'DATA_FIRST', 'END']);
    expect(line.text).toBe('Hello');
  });

  test('asked for again on the same connection is not sent twice', () => {
    const line = new Line();
    const one = answer();
    one.attach(line);
    one.delta('Hello');
    one.attach(line);
    expect(line.text).toBe('Hello');
  });

  test('is kept alive only while its stream is open', () => {
    const line = new Line();
    const one = answer();
    one.attach(line);
    one.keepAlive();
    one.delta('a');
    one.keepAlive();
    one.finish({ kind: 'streamed', text: '' });
    one.keepAlive();
    expect(line.events).toEqual(['START', 'DATA_FIRST', 'DATA_MIDDLE', 'END']);
    expect(line.text).toBe('a');
  });

  test('is cut into pieces that no message limit refuses, and no character breaks', () => {
    const line = new Line();
    const one = answer();
    one.attach(line);
    const text = '😀'.repeat(20_000);
    one.delta(text);
    expect(line.text).toBe(text);
    for (const { payload } of line.sent) {
      const data = String(payload['data'] ?? '');
      expect(data.length).toBeLessThanOrEqual(16_384);
      expect(data.isWellFormed()).toBe(true);
    }
  });
});
