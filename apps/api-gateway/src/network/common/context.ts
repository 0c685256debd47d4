import type { CommandContext } from '@omnivisor/contracts';

/** Context of one of several commands; the same name gives the same command id. */
export const step = (context: CommandContext, name: string): CommandContext => ({
  ...context,
  commandId: `${context.commandId} ${name}`.slice(-128) as CommandContext['commandId'],
});
