// Waiting for something to happen, never for time to pass.

/** `promise`, or an error that says what did not happen within `ms`. */
export async function within(promise, what, ms = 10_000) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${typeof what === 'function' ? what() : what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Looks until `condition` holds: for what no event tells of. */
export async function until(condition, what, ms = 10_000) {
  const deadline = Date.now() + ms;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${typeof what === 'function' ? what() : what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The arguments of the next `event` of `emitter` that `accepts` likes. */
export function next(emitter, event, accepts = () => true, ms) {
  let listener;
  const happened = new Promise((resolve) => {
    listener = (...args) => {
      if (accepts(...args)) resolve(args);
    };
    emitter.on(event, listener);
  });
  return within(happened, `event ${event}`, ms).finally(() => emitter.off(event, listener));
}

/** What the server acknowledges `event` with: exactly one argument (spec §1.3). */
export function ask(socket, event, ...payload) {
  const reply = new Promise((resolve, reject) => {
    socket.emit(event, ...payload, (...args) => {
      if (args.length === 1) resolve(args[0]);
      else reject(new Error(`the ack of ${event} has ${args.length} arguments`));
    });
  });
  return within(reply, `the ack of ${event}`);
}

/** Resolves when everything sent before on `socket`'s connection has been handled by the server. */
export async function fence(authSocket) {
  await ask(authSocket, 33);
}
