import type { ServerEvent, ServerFault, ServerId } from '@omnivisor/contracts';
import type { Server } from '../state/server.js';
import { guard, guardState, type StateRule } from '../state/server-rules.js';

export type PasswordCommand =
  | {
      readonly type: 'changePassword';
      readonly serverId: ServerId;
      /** Of the system inside. */
      readonly user: string;
      readonly asAdmin: boolean;
    }
  /** What its guest has made of it; null: it has the password. */
  | { readonly type: 'settlePassword'; readonly serverId: ServerId; readonly fault: ServerFault | null };

const rule: StateRule = { action: 'changePassword', from: ['active'], task: [null] };

/** The password itself is no part of it: the guest is told, and nobody keeps it. */
export const decidePassword = (server: Server, command: PasswordCommand): ServerEvent[] => {
  const { serverId } = command;
  if (command.type === 'settlePassword')
    return command.fault
      ? [{ type: 'ServerPasswordChangeFailed', data: { serverId, fault: command.fault } }]
      : [{ type: 'ServerPasswordChanged', data: { serverId } }];
  guard(server, serverId, command.asAdmin);
  guardState(server, serverId, rule);
  return [{ type: 'ServerPasswordChangeRequested', data: { serverId, user: command.user } }];
};

/** Whose password it is: the image says so, or its system has one by the name that is usual there. */
export const administratorOf = ({ os_admin_user: named, os_type: os }: Readonly<Record<string, string>>): string =>
  named || (os === 'windows' ? 'Administrator' : 'root');
