import type { ServerEvent, ServerFault, ServerId } from '@omnivisor/contracts';
import type { Server } from '../state/server.js';
import { guard, guardState, type StateRule } from '../state/server-rules.js';

export type CrashDumpCommand =
  | { readonly type: 'crashDump'; readonly serverId: ServerId; readonly asAdmin: boolean }
  /** What its host has made of it; null: the guest got the interrupt. */
  | { readonly type: 'settleCrashDump'; readonly serverId: ServerId; readonly fault: ServerFault | null };

const rule: StateRule = {
  action: 'trigger_crash_dump',
  from: ['active', 'paused', 'rescued', 'resized', 'error'],
  task: [null],
};

/** It changes nothing of the server that we know of: whatever its kernel does then, its host tells as of any guest. */
export const decideCrashDump = (server: Server, command: CrashDumpCommand): ServerEvent[] => {
  const { serverId } = command;
  if (command.type === 'settleCrashDump')
    return command.fault
      ? [{ type: 'ServerCrashDumpFailed', data: { serverId, fault: command.fault } }]
      : [{ type: 'ServerCrashDumpTriggered', data: { serverId } }];
  guard(server, serverId, command.asAdmin);
  guardState(server, serverId, rule);
  return [{ type: 'ServerCrashDumpRequested', data: { serverId } }];
};
