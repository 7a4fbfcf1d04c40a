/** The languages of the page, and every sentence of it in each. */
export const LANGUAGES = ['en', 'zh'] as const;
export type Language = (typeof LANGUAGES)[number];

const en = {
  title: 'NewAge Broker',
  subtitle: 'Monitor',
  otherLanguage: '中文',
  otherLanguageLabel: 'Switch to Chinese',
  statusConnecting: 'Connecting…',
  statusOnline: 'Connected',
  statusOffline: 'Connection lost, trying again…',
  statusRefused: 'Refused by the broker',
  reconnect: 'Try again',
  extensions: 'Extensions',
  extensionsHint: 'Programs that answer: a SillyTavern tab, or the built-in demo.',
  refresh: 'Refresh',
  noExtensions: 'None is connected. Open SillyTavern with its extension, or start the broker with its demo.',
  chooseExtension: 'Send to',
  nobody: 'No extension',
  conversation: 'Conversation',
  emptyTitle: 'Ask something',
  emptyText: 'Type a prompt below. The answer appears here, token by token.',
  prompt: 'Prompt',
  promptPlaceholder: 'Write a prompt…',
  promptHint: 'Enter sends, Shift+Enter starts a new line',
  send: 'Send',
  dismiss: 'Dismiss',
  you: 'You',
  elsewhere: 'Asked in another window',
  answerOf: 'Answer of {name}',
  stateSending: 'Sending…',
  stateWaiting: 'Waiting for the first word…',
  stateAnswering: 'Answering…',
  stateAnswered: 'Answered',
  stateFailed: 'Failed',
  errorUnreachable: 'The broker cannot be reached. The page keeps trying. ({detail})',
  errorRefused: 'The broker ended the session on {namespace}. {detail}',
  errorNoAck: 'The broker did not answer in time.',
  errorOffline: 'Not connected: the prompt was not sent.',
  errorNoExtension: 'No extension is connected that could answer.',
  errorList: 'The list of extensions could not be read. {detail}',
  errorStream: 'The stream broke off. ({detail})',
  errorServer: 'The broker reports: {detail}',
  knownUntrusted: 'The client “monitor” is not trusted: its file in settings/ is missing or does not say "isTrust": true.',
  knownInvalidKey: 'The key was not accepted. Open this page on the machine of the broker, or ask for access.',
  knownRateLimited: 'Too many failed attempts. Wait a minute and try again.',
  knownTargetMissing: '{name} is not connected.',
  knownTargetGone: '{name} disconnected before it had finished.',
  knownTimeout: 'The extension did not answer in time.',
  knownTooMany: 'Too many requests are waiting. Let some of them finish first.',
  knownDuplicate: 'This request is already known to the broker.',
  knownAborted: 'The connection was lost while the answer arrived.',
  knownSlow: 'This page read too slowly, and a part of the answer was dropped.',
};

export type Key = keyof typeof en;
export type Texts = Record<Key, string>;

const zh: Texts = {
  title: 'NewAge Broker',
  subtitle: '监视器',
  otherLanguage: 'English',
  otherLanguageLabel: '切换到英文',
  statusConnecting: '正在连接…',
  statusOnline: '已连接',
  statusOffline: '连接已断开，正在重试…',
  statusRefused: '服务器拒绝了连接',
  reconnect: '重试',
  extensions: '扩展',
  extensionsHint: '负责回答的程序：SillyTavern 标签页，或内置演示。',
  refresh: '刷新',
  noExtensions: '没有已连接的扩展。请打开装有扩展的 SillyTavern，或启动带演示的服务器。',
  chooseExtension: '发送给',
  nobody: '没有扩展',
  conversation: '对话',
  emptyTitle: '问点什么吧',
  emptyText: '在下方输入提示词，回答会在这里逐字出现。',
  prompt: '提示词',
  promptPlaceholder: '输入提示词…',
  promptHint: '回车发送，Shift+回车换行',
  send: '发送',
  dismiss: '关闭',
  you: '你',
  elsewhere: '在另一个窗口中提问',
  answerOf: '{name} 的回答',
  stateSending: '正在发送…',
  stateWaiting: '正在等待第一个字…',
  stateAnswering: '正在回答…',
  stateAnswered: '已回答',
  stateFailed: '失败',
  errorUnreachable: '无法连接到服务器，页面会继续重试。（{detail}）',
  errorRefused: '服务器结束了 {namespace} 上的会话。{detail}',
  errorNoAck: '服务器没有及时应答。',
  errorOffline: '尚未连接，提示词没有发送。',
  errorNoExtension: '没有可以回答的扩展。',
  errorList: '无法读取扩展列表。{detail}',
  errorStream: '数据流中断。（{detail}）',
  errorServer: '服务器报告：{detail}',
  knownUntrusted: '客户端“monitor”不受信任：settings/ 中没有它的文件，或文件里没有 "isTrust": true。',
  knownInvalidKey: '密钥未被接受。请在服务器所在的机器上打开本页，或申请访问权限。',
  knownRateLimited: '失败次数过多，请等一分钟再试。',
  knownTargetMissing: '{name} 没有连接。',
  knownTargetGone: '{name} 在回答完之前断开了连接。',
  knownTimeout: '扩展没有及时回答。',
  knownTooMany: '等待中的请求太多，请先等一些请求完成。',
  knownDuplicate: '服务器已经收到过这个请求。',
  knownAborted: '接收回答时连接断开了。',
  knownSlow: '本页读取得太慢，回答的一部分已被丢弃。',
};

export const TEXTS: Record<Language, Texts> = { en, zh };

/** A sentence that can still be said in either language. */
export interface Say {
  key: Key;
  fill?: Record<string, string | Say>;
}

/** The text of `say` in `language`; a `{word}` without a value stays as it is. */
export function translate(language: Language, say: Say): string {
  return TEXTS[language][say.key].replace(/\{(\w+)\}/g, (whole, word: string) => {
    const value = say.fill?.[word];
    if (value === undefined) return whole;
    return typeof value === 'string' ? value : translate(language, value);
  });
}

/** The remembered language, or else the browser's, or else English. */
export function chooseLanguage(remembered: string | null, preferred: string): Language {
  const known = LANGUAGES.find((language) => language === remembered);
  return known ?? (preferred.toLowerCase().startsWith('zh') ? 'zh' : 'en');
}

// Texts of the protocol (spec §3.2, §4.4, §5.9) that the page can say in the reader's language.
const KNOWN: readonly [RegExp, Key][] = [
  [/^Client is not trusted\.$/, 'knownUntrusted'],
  [/^Invalid key\.$/, 'knownInvalidKey'],
  [/^Target client not found: (?<name>.+)$/, 'knownTargetMissing'],
  [/^Target client disconnected: (?<name>.+)$/, 'knownTargetGone'],
  [/^LLM request timed out\.$/, 'knownTimeout'],
  [/^Too many pending requests\.$/, 'knownTooMany'],
  [/^Duplicate requestId\.$/, 'knownDuplicate'],
  [/^Connection aborted$/, 'knownAborted'],
  [/^receiver too slow$/, 'knownSlow'],
];

/** What a message of the broker means; one that is not known is quoted. */
export function explain(message: string, code?: unknown): Say {
  if (code === 'rate_limited') return { key: 'knownRateLimited' };
  for (const [pattern, key] of KNOWN) {
    const found = pattern.exec(message);
    if (found) return { key, fill: { ...found.groups } };
  }
  return { key: 'errorServer', fill: { detail: message } };
}
