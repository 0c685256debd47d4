import type { ImageSnapshot, ServerEvent, ServerId } from '@omnivisor/contracts';
import { operated, type Server } from '../state/server.js';
import { guard, guardState, type StateRule } from '../state/server-rules.js';

export type RescueCommand =
  | {
      readonly type: 'rescue';
      readonly serverId: ServerId;
      /** What the server is started from. */
      readonly image: ImageSnapshot;
      readonly asAdmin: boolean;
    }
  | { readonly type: 'unrescue'; readonly serverId: ServerId; readonly asAdmin: boolean };

const rules = {
  rescue: { action: 'rescue', from: ['active', 'stopped', 'error'], task: [null] },
  unrescue: { action: 'unrescue', from: ['rescued'], task: [null] },
} as const satisfies Record<RescueCommand['type'], StateRule>;

/** @throws DomainError when the server cannot be rescued, or not be unrescued, now */
export const guardRescue = (server: Server, id: ServerId, asAdmin: boolean, what: RescueCommand['type']): void => {
  guard(server, id, asAdmin);
  guardState(server, id, rules[what]);
};

export const decideRescue = (server: Server, command: RescueCommand): ServerEvent[] => {
  const { serverId, asAdmin, type } = command;
  guardRescue(server, serverId, asAdmin, type);
  const generation = server.generation + 1;
  return type === 'rescue'
    ? [{ type: 'ServerRescueRequested', data: { serverId, generation, image: command.image } }]
    : [{ type: 'ServerUnrescueRequested', data: { serverId, generation } }];
};

type RescueEvent = Extract<ServerEvent, { type: `Server${'Rescue' | 'Unrescue'}${'Requested' | 'd'}` }>;

export const evolveRescue = (server: Server, event: RescueEvent): Server => {
  const { generation } = event.data;
  switch (event.type) {
    case 'ServerRescueRequested': {
      const operation = { generation, kind: 'rescue', done: false, image: event.data.image } as const;
      return { ...server, taskState: 'rescuing', generation, wantedPower: 'running', operation };
    }
    case 'ServerUnrescueRequested': {
      const operation = { generation, kind: 'unrescue', done: false } as const;
      return { ...server, taskState: 'unrescuing', generation, wantedPower: 'running', operation };
    }
    case 'ServerRescued': {
      const rescued = operated(server, generation, event.data.power, event.data.bootId);
      return rescued === server ? server : { ...rescued, vmState: 'rescued' };
    }
    case 'ServerUnrescued':
      return operated(server, generation, event.data.power, event.data.bootId);
  }
};
