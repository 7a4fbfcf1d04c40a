import { describe, expect, test } from 'vitest';
import { AnswerMemory } from '../src/memory';
import { RequestQueue } from '../src/queue';
import { commandNames, refusal } from '../src/slash';

describe('the queue', () => {
  const item = (requestId: string) => ({ requestId });

  test('runs one at a time, in order', () => {
    const queue = new RequestQueue(9);
    for (const id of ['a', 'b', 'c']) queue.add(item(id));
    expect(queue.next()?.requestId).toBe('a');
    expect(queue.next()).toBeNull();
    expect(queue.waiting.map(({ requestId }) => requestId)).toEqual(['b', 'c']);
    queue.done();
    expect(queue.next()?.requestId).toBe('b');
  });

  test('knows each id once, waiting or running', () => {
    const queue = new RequestQueue(9);
    queue.add(item('a'));
    queue.add(item('b'));
    queue.next();
    expect(queue.find('a')).toBe(queue.running);
    expect(queue.find('b')?.requestId).toBe('b');
    expect(queue.find('c')).toBeUndefined();
    expect(() => queue.add(item('a'))).toThrow();
    queue.done();
    expect(queue.find('a')).toBeUndefined();
  });

  test('takes no more than its bound', () => {
    const queue = new RequestQueue(2);
    expect([queue.add(item('a')), queue.add(item('b')), queue.add(item('c'))]).toEqual([true, true, false]);
  });

  test('drops those that wait, not the one that runs', () => {
    const queue = new RequestQueue(9);
    for (const id of ['a', 'b', 'c']) queue.add(item(id));
    queue.next();
    queue.drop(({ requestId }) => requestId !== 'c');
    expect(queue.running?.requestId).toBe('a');
    expect(queue.waiting.map(({ requestId }) => requestId)).toEqual(['c']);
  });
});

describe('the memory of answers', () => {
  const memory = () => new AnswerMemory<{ requestId: string }, string>({ entries: 3, size: 10, ageMs: 100 });
  const ids = (of: ReturnType<typeof memory>, now: number) => ['a', 'b', 'c', 'd'].filter((id) => of.get(id, now));

  test('forgets the oldest: by number, by size, by age', () => {
    const byNumber = memory();
    for (const id of ['a', 'b', 'c', 'd']) byNumber.put({ requestId: id }, id, 1, 0);
    expect(ids(byNumber, 0)).toEqual(['b', 'c', 'd']);

    const bySize = memory();
    bySize.put({ requestId: 'a' }, 'a', 6, 0);
    bySize.put({ requestId: 'b' }, 'b', 4, 0);
    expect(ids(bySize, 0)).toEqual(['a', 'b']);
    bySize.put({ requestId: 'c' }, 'c', 1, 0);
    expect(ids(bySize, 0)).toEqual(['b', 'c']);
    bySize.put({ requestId: 'd' }, 'd', 11, 0);
    expect(ids(bySize, 0)).toEqual([]);

    const byAge = memory();
    byAge.put({ requestId: 'a' }, 'a', 1, 0);
    expect(ids(byAge, 100)).toEqual(['a']);
    expect(ids(byAge, 101)).toEqual([]);
  });

  test('an id has one answer, the last', () => {
    const one = memory();
    one.put({ requestId: 'a' }, 'first', 9, 0);
    one.put({ requestId: 'a' }, 'second', 9, 0);
    expect(one.get('a', 0)?.answer).toBe('second');
  });
});

describe('slash commands', () => {
  const allowed = commandNames('echo, /bg;Sys\n');

  test('the list as people write it', () => {
    expect(allowed).toEqual(['echo', 'bg', 'sys']);
    expect(commandNames('  ')).toEqual([]);
  });

  test.each(['/echo hello', '/bg beach', '/ECHO severity=info hi', ' /echo'])('may run: %s', (command) => {
    expect(refusal(command, allowed)).toBeNull();
  });

  test.each([
    '/setvar key=x 1',
    'echo hello',
    '/echo hi | /setvar key=x 1',
    '/echo hi \\| /run x',
    '/echo {: /setvar key=x 1 :}',
    '/echo {{setvar::x::1}}',
    '/echo/bg',
    '/echoes',
    '//echo',
    '',
    7,
    null,
  ])('may not run: %s', (command) => {
    expect(refusal(command, allowed)).toBeTypeOf('string');
  });
});
