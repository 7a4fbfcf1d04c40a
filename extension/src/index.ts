/** The extension of NewAge Broker: puts its parts together once SillyTavern is ready. */
import { Connection } from './connection';
import { answerCall } from './functions';
import { generate } from './generate';
import { Panel } from './panel';
import { EVENT } from './protocol';
import { isObject } from './request';
import { Service } from './service';
import { follow, load, save } from './settings';
import { context, eventName, tr } from './sillytavern';
import { Tabs, tabSuffix } from './tabs';

/** Requests of this tab's page before a reload: what it sends as it goes need not arrive. */
const UNFINISHED = 'newage-broker.unfinished';
/** After connecting: by then a broker has handed open requests over, and who noticed has asked again. */
const SETTLED_MS = 1_000;
const KEEP_ALIVE_MS = 20_000;
/** How long a page may take to go; its user may also have stayed. */
const LEAVING_MS = 3_000;

function start(): void {
  const settings = load();
  const suffix = tabSuffix(sessionStorage, window);
  const identity = () => `${settings.clientId}-${suffix}`;

  const panel = new Panel(document.querySelector<HTMLElement>('#extensions_settings2') ?? document.body, settings, {
    connect: () => {
      settings.connect = true;
      save(settings);
      connect();
    },
    disconnect: () => {
      settings.connect = false;
      save(settings);
      connection.close();
    },
    changed: () => {
      save(settings);
      if (connection.on && target() !== connected) connect();
    },
    generateKey: async (targetClientId) => {
      const { key } = await connection.administer(EVENT.generateKey, { targetClientId });
      return String(key ?? '');
    },
    revokeKey: async (targetClientId) => {
      await connection.administer(EVENT.removeKey, { targetClientId });
    },
    listClients: async () => {
      const { clients } = await connection.administer(EVENT.clients, {});
      const ids = Array.isArray(clients) ? clients.map((client) => (isObject(client) ? client['id'] : null)) : [];
      return ids.filter((id): id is string => typeof id === 'string');
    },
  });

  follow(settings, () => panel.refresh());

  const tabs = new Tabs(suffix, localStorage, (payload) => service.handOver(payload));
  const service: Service = new Service({
    clientId: () => settings.clientId,
    policy: () => settings.policy,
    generate: (job, onDelta) => generate(job, onDelta).catch(unlessLeaving),
    claim: (requestId, payload) => tabs.claim(requestId, payload),
    newId,
    now: () => Date.now(),
    changed: () => {
      const whose = ({ request }: { request: { clientId: string } }) => request;
      const { running, waiting, answered } = service;
      panel.activity({ running: running && whose(running), waiting: waiting.map(whose), answered });
      remember();
    },
    failed: (reason, clientId) => panel.error(clientId === '' ? reason : `${clientId}: ${reason}`),
  });

  const remember = () => {
    tabs.renew(service.known);
    sessionStorage.setItem(UNFINISHED, JSON.stringify(service.owed));
  };
  service.disown(readUnfinished(), 'The SillyTavern tab was reloaded.');

  const connection: Connection = new Connection({
    state: (state) => {
      panel.state(state);
      // A broker that cannot be reached is tried again all the time; the state says so.
      if (state.name === 'refused') panel.error(tr(state.detail));
    },
    up: (line) => {
      service.lineUp(line);
      setTimeout(() => service.settled(line), SETTLED_MS);
    },
    down: () => service.lineDown(),
    request: (payload) => void service.request(payload),
    call: (payload, answer) => {
      const { functions, slashCommands } = settings;
      void answerCall(payload, { allowed: functions, slashCommands }).then(answer);
    },
    complaint: (message) => panel.error(message),
  });

  let connected = '';
  const target = () => JSON.stringify([settings.url, settings.clientId, settings.key]);
  const connect = () => {
    connected = target();
    const { url, clientId, key } = settings;
    connection.open({ url, clientId, key, identity: identity(), desc: `SillyTavern at ${window.location.host}` });
  };

  // A page that goes loses its requests first: that is not the model's failure, and is told below.
  let leaving = 0;
  window.addEventListener('beforeunload', () => (leaving = Date.now()));
  const unlessLeaving = async (error: unknown) => {
    const left = LEAVING_MS - (Date.now() - leaving);
    if (left > 0) await new Promise((resolve) => setTimeout(resolve, left));
    throw error;
  };
  window.addEventListener('pagehide', () => {
    service.abandon('The SillyTavern tab was closed or reloaded.');
    tabs.renew([]);
  });
  setInterval(() => {
    service.keepAlive();
    tabs.renew(service.known);
  }, KEEP_ALIVE_MS);

  if (settings.connect) connect();
}

function readUnfinished(): string[] {
  try {
    const ids: unknown = JSON.parse(sessionStorage.getItem(UNFINISHED) ?? '[]');
    return Array.isArray(ids) ? ids.filter((id) => typeof id === 'string') : [];
  } catch {
    return [];
  }
}

/** `crypto.randomUUID` exists on HTTPS and localhost only. */
function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

context().eventSource.once(eventName('APP_READY'), start);
