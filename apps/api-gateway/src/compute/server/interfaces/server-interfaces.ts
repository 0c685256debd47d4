import {
  conflict,
  type HostFact,
  type Instant,
  notFound,
  type PortId,
  type ServerEvent,
  type ServerFault,
  type ServerId,
  type ServerPort,
} from '@omnivisor/contracts';
import type { PendingInterface, Server } from '../state/server.js';
import { guard, guardState, type StateRule } from '../state/server-rules.js';

export type InterfaceCommand =
  /** The port is made, and bound to the server's host. */
  | {
      readonly type: 'attachInterface';
      readonly serverId: ServerId;
      readonly port: ServerPort;
      readonly asAdmin: boolean;
      readonly now: Instant;
    }
  | {
      readonly type: 'detachInterface';
      readonly serverId: ServerId;
      readonly portId: PortId;
      readonly asAdmin: boolean;
      readonly now: Instant;
    }
  /** The deadline of a change has passed; `since` says which one was meant. */
  | {
      readonly type: 'expireInterface';
      readonly serverId: ServerId;
      readonly portId: PortId;
      readonly since: Instant;
    }
  | { readonly type: 'confirmInterfaceReleased'; readonly serverId: ServerId; readonly portId: PortId };

const rules = {
  attach: { action: 'attach_interface', from: ['active', 'paused', 'stopped'], task: [null] },
  detach: { action: 'detach_interface', from: ['active', 'paused', 'stopped'], task: [null] },
} as const satisfies Record<PendingInterface['change'], StateRule>;

/** @throws DomainError when the server can have no other interface now */
export const guardAttach = (server: Server, id: ServerId, asAdmin: boolean): void => {
  guard(server, id, asAdmin);
  guardState(server, id, rules.attach);
};

const attach = (server: Server, command: Extract<InterfaceCommand, { type: 'attachInterface' }>): ServerEvent[] => {
  const { serverId, port, now: at } = command;
  if (server.ports?.some(({ portId }) => portId === port.portId)) return [];
  guardAttach(server, serverId, command.asAdmin);
  return [{ type: 'ServerInterfaceAttachRequested', data: { serverId, port, at } }];
};

const detach = (server: Server, command: Extract<InterfaceCommand, { type: 'detachInterface' }>): ServerEvent[] => {
  const { serverId, portId, now: at } = command;
  guard(server, serverId, command.asAdmin);
  guardState(server, serverId, rules.detach);
  if (!server.ports?.some((port) => port.portId === portId)) throw notFound(`Port id ${portId} could not be found.`);
  const pending = pendingOf(server, portId);
  if (pending?.change === 'attach') throw conflict(`Port ${portId} is still in use.`);
  return pending ? [] : [{ type: 'ServerInterfaceDetachRequested', data: { serverId, portId, at } }];
};

const failed = (serverId: ServerId, { portId, change }: PendingInterface, fault: ServerFault): ServerEvent => ({
  type: change === 'attach' ? 'ServerInterfaceAttachFailed' : 'ServerInterfaceDetachFailed',
  data: { serverId, portId, fault },
});

export const decideInterface = (server: Server, command: InterfaceCommand): ServerEvent[] => {
  switch (command.type) {
    case 'attachInterface':
      return attach(server, command);
    case 'detachInterface':
      return detach(server, command);
    case 'expireInterface': {
      const pending = pendingOf(server, command.portId);
      if (!pending || pending.since === null || pending.since !== command.since) return [];
      const message = 'The interface was not changed in time: the host did not answer.';
      return [failed(command.serverId, pending, { code: 500, message })];
    }
    case 'confirmInterfaceReleased': {
      const { serverId, portId } = command;
      if (!server.releasing?.includes(portId)) return [];
      return [{ type: 'ServerInterfaceReleased', data: { serverId, portId } }];
    }
  }
};

/** What the host of a server says of a change of its interfaces, as far as it is still open. */
export const reportInterface = (
  server: Server,
  onHost: { readonly serverId: ServerId } & Pick<NonNullable<Server['placement']>, 'host' | 'attempt'>,
  fact: Extract<HostFact, { kind: 'interfaceDone' | 'interfaceFailed' }>,
): ServerEvent[] => {
  const { portId, change } = fact;
  const pending = pendingOf(server, portId);
  if (pending?.change !== change) return [];
  if (fact.kind === 'interfaceDone')
    return [
      {
        type: change === 'attach' ? 'ServerInterfaceAttached' : 'ServerInterfaceDetached',
        data: { ...onHost, portId },
      },
    ];
  // What an attach that failed may have left is taken out until that is done.
  if (pending.since === null) return [];
  const fault = { code: fact.unsupported ? 501 : 500, message: fact.reason };
  return [failed(onHost.serverId, pending, fault)];
};

/** The change of an interface that its host has not done yet. */
export const pendingOf = (server: Server, portId: PortId): PendingInterface | undefined =>
  server.interfaces?.find((pending) => pending.portId === portId);

type InterfaceEvent = Extract<ServerEvent, { type: `ServerInterface${string}` }>;

export const evolveInterfaces = (server: Server, event: InterfaceEvent): Server => {
  const portId = 'port' in event.data ? event.data.port.portId : event.data.portId;
  const others = (server.interfaces ?? []).filter((pending) => pending.portId !== portId);
  const pending = (change: PendingInterface['change'], since: Instant | null): Server => ({
    ...server,
    interfaces: [...others, { portId, change, since }],
  });
  switch (event.type) {
    case 'ServerInterfaceAttachRequested': {
      const { port, at } = event.data;
      return { ...pending('attach', at), ports: [...(server.ports ?? []), port] };
    }
    case 'ServerInterfaceDetachRequested':
      return pending('detach', event.data.at);
    case 'ServerInterfaceAttachFailed':
      return pending('detach', null);
    case 'ServerInterfaceAttached':
    case 'ServerInterfaceDetachFailed':
      return { ...server, interfaces: others };
    case 'ServerInterfaceDetached':
      return {
        ...server,
        interfaces: others,
        ports: (server.ports ?? []).filter((port) => port.portId !== portId),
        releasing: [...(server.releasing ?? []), portId],
      };
    case 'ServerInterfaceReleased':
      return { ...server, releasing: (server.releasing ?? []).filter((released) => released !== portId) };
  }
};
