// A language model of our own: OpenAI's chat and text completions over HTTP, with answers that a test
// dictates.
import { createServer } from 'node:http';
import { once } from 'node:events';
import { within } from './wait.mjs';

/**
 * `reply` gets the request's body and returns what to do:
 * `{ tokens, gate?, tail? }` answers with these tokens; `gate(index)` may hold back the token of an index;
 * `{ status, error }` fails; `{ tokens, breakAfter }` breaks the connection after that many.
 */
export async function startUpstream() {
  const requests = [];
  const open = new Set();
  const upstream = { reply: () => ({ tokens: ['ok'] }), requests };
  const server = createServer(async (request, response) => {
    open.add(response);
    response.on('close', () => open.delete(response));
    if (request.url.endsWith('/models')) {
      response.setHeader('content-type', 'application/json');
      return response.end(JSON.stringify({ object: 'list', data: [{ id: 'test-model', object: 'model' }] }));
    }
    let text = '';
    for await (const chunk of request) text += chunk;
    const body = JSON.parse(text);
    requests.push({ body });
    const isChat = !request.url.endsWith('/v1/completions');
    const choice = (content) => ({ choices: [{ index: 0, ...(isChat ? { delta: { content } } : { text: content }) }] });
    const answer = await upstream.reply(body);
    if (answer.error) {
      response.writeHead(answer.status ?? 500, { 'content-type': 'application/json' });
      return response.end(JSON.stringify({ error: { message: answer.error, type: 'server_error' } }));
    }
    if (!body.stream) {
      await answer.gate?.(0);
      response.setHeader('content-type', 'application/json');
      const content = answer.tokens.join('');
      return response.end(JSON.stringify({ choices: [isChat ? { message: { role: 'assistant', content } } : { text: content }] }));
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const [index, content] of answer.tokens.entries()) {
      await answer.gate?.(index);
      if (answer.breakAfter === index) return response.destroy();
      if (response.destroyed) return undefined;
      response.write(`data: ${JSON.stringify(choice(content))}\n\n`);
    }
    return response.end('data: [DONE]\n\n');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  upstream.url = `http://127.0.0.1:${server.address().port}/v1`;
  upstream.stop = async () => {
    for (const response of open) response.destroy();
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  };
  return upstream;
}

/** A door that a test opens: `gate` waits at the token of index `at`. */
export function door(at) {
  let opened;
  let arrived;
  const isOpen = new Promise((resolve) => (opened = resolve));
  const reached = new Promise((resolve) => (arrived = resolve));
  return {
    open: opened,
    get reached() {
      return within(reached, `the model is asked for its token ${at}`);
    },
    gate: async (index) => {
      if (index !== at) return;
      arrived();
      await isOpen;
    },
  };
}
