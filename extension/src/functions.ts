/** Functions for remote callers (spec §6.1). Each can be switched off; those that change nothing are on. */
import { generating } from './generate';
import { isObject } from './request';
import { type Character, type ChatMessage, context, eventName, sendDate } from './sillytavern';
import { commandNames, refusal } from './slash';

interface RemoteFunction {
  /** Changes nothing: on by default. */
  safe: boolean;
  /** In the panel. */
  label: string;
  run(args: unknown[], options: { slashCommands: string }): unknown;
}

/** A failure that the caller may read. */
class CallError extends Error {}

const MAX_MESSAGES = 100;

export const FUNCTIONS = {
  listCharacters: {
    safe: true,
    label: 'List characters',
    run: () => context().characters.map(({ name, avatar }) => ({ name, avatar })),
  },
  getCurrentChat: {
    safe: true,
    label: 'Name the open character and chat',
    run: () => {
      const { chat, groupId, groups, name1, onlineStatus } = context();
      return {
        character: openCharacter()?.name ?? null,
        avatar: openCharacter()?.avatar ?? null,
        group: groupId === null ? null : (groups.find(({ id }) => id === groupId)?.name ?? groupId),
        chatId: context().getCurrentChatId() ?? null,
        messages: chat.length,
        user: name1,
        online: onlineStatus !== 'no_connection',
      };
    },
  },
  getRecentMessages: {
    safe: true,
    label: 'Read recent messages of the open chat',
    run: ([count = 10]) => {
      const number = Number(count);
      if (!Number.isInteger(number) || number < 1) throw new CallError('Invalid arguments.');
      const { chat } = context();
      const first = Math.max(0, chat.length - Math.min(number, MAX_MESSAGES));
      return chat.slice(first).map((message, index) => ({
        id: first + index,
        name: message.name,
        role: message.is_system ? 'system' : message.is_user ? 'user' : 'assistant',
        text: message.mes,
      }));
    },
  },
  switchCharacter: {
    safe: false,
    label: 'Open another character',
    run: async ([who]) => {
      if (typeof who !== 'string' || who === '') throw new CallError('Invalid arguments.');
      const { characters, selectCharacterById } = context();
      const is = (test: (character: Character) => boolean) => characters.findIndex(test);
      const exact = is(({ avatar }) => avatar === who);
      const index = exact >= 0 ? exact : is(({ name }) => name.toLowerCase() === who.toLowerCase());
      const found = characters[index];
      if (!found) throw new CallError(`There is no character "${who}".`);
      if (generating()) throw new CallError('SillyTavern is generating.');
      await selectCharacterById(index);
      return { name: found.name, avatar: found.avatar };
    },
  },
  sendSystemNote: {
    safe: false,
    label: 'Add a note to the open chat',
    run: async ([text]) => {
      if (typeof text !== 'string' || text.trim() === '') throw new CallError('Invalid arguments.');
      const { chat, eventSource, addOneMessage, saveChat } = context();
      if (context().groupId === null && openCharacter() === null) throw new CallError('No chat is open in SillyTavern.');
      // A system message is shown and saved, and is no part of what the model reads.
      const message: ChatMessage = {
        name: 'NewAge',
        is_user: false,
        is_system: true,
        send_date: sendDate(),
        mes: text,
        extra: { type: 'comment', newage: true },
      };
      chat.push(message);
      const id = chat.length - 1;
      await eventSource.emit(eventName('MESSAGE_SENT'), id);
      addOneMessage(message);
      await saveChat();
      return { id };
    },
  },
  runSlashCommand: {
    safe: false,
    label: 'Run a slash command of this list:',
    run: async ([command], { slashCommands }) => {
      const denied = refusal(command, commandNames(slashCommands));
      if (denied !== null) throw new CallError(denied);
      const result = await context().executeSlashCommandsWithOptions(String(command).trim(), {
        handleParserErrors: false,
        handleExecutionErrors: false,
        source: 'newage-broker',
      });
      if (result?.isError) throw new CallError(result.errorMessage ?? 'The command failed.');
      return { pipe: result?.pipe ?? '' };
    },
  },
} satisfies Record<string, RemoteFunction>;

export type FunctionName = keyof typeof FUNCTIONS;

function openCharacter(): Character | null {
  const { characters, characterId } = context();
  return characterId === undefined || characterId === null ? null : (characters[Number(characterId)] ?? null);
}

/** Runs the function that `payload` names, and gives the reply for the caller; never throws. */
export async function answerCall(
  payload: unknown,
  options: { allowed: Record<FunctionName, boolean>; slashCommands: string },
): Promise<object> {
  const fields = isObject(payload) ? payload : {};
  const requestId = fields['requestId'];
  const failure = (message: string) => ({ requestId, success: false, error: { message } });
  const name = String(fields['functionName'] ?? '');
  if (!Object.hasOwn(FUNCTIONS, name)) return failure(`Function "${name}" not found.`);
  const known = name as FunctionName;
  if (!options.allowed[known]) return failure(`Access denied: "${name}" is switched off in SillyTavern.`);
  const args = fields['args'] ?? [];
  if (!Array.isArray(args)) return failure('Invalid arguments.');
  try {
    const result: unknown = await (FUNCTIONS[known] as RemoteFunction).run(args, options);
    return { requestId, success: true, result };
  } catch (error) {
    return failure(error instanceof Error && error.message !== '' ? error.message : 'An unknown error occurred.');
  }
}
