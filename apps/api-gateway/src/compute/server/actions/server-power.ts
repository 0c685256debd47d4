import type { PowerOperation, ServerEvent, ServerId } from '@omnivisor/contracts';
import type { Server } from '../state/server.js';
import { guard, guardState, type StateRule } from '../state/server-rules.js';

interface PowerRule extends StateRule {
  readonly requested: (serverId: ServerId, generation: number) => ServerEvent;
}

/** From which states an operation is accepted; source: compute API of Nova, 2026. */
export const powerRules: Record<PowerOperation, PowerRule> = {
  start: {
    action: 'start',
    from: ['stopped'],
    task: [null],
    requested: (serverId, generation) => ({ type: 'ServerStartRequested', data: { serverId, generation } }),
  },
  stop: {
    action: 'stop',
    from: ['active', 'error'],
    task: [null],
    requested: (serverId, generation) => ({ type: 'ServerStopRequested', data: { serverId, generation } }),
  },
  softReboot: {
    action: 'reboot',
    from: ['active'],
    task: [null],
    requested: (serverId, generation) => ({
      type: 'ServerRebootRequested',
      data: { serverId, generation, kind: 'soft' },
    }),
  },
  hardReboot: {
    action: 'reboot',
    from: ['active', 'stopped', 'paused', 'suspended', 'error'],
    task: [null, 'rebooting', 'rebooting_hard', 'pausing', 'unpausing', 'suspending', 'resuming'],
    requested: (serverId, generation) => ({
      type: 'ServerRebootRequested',
      data: { serverId, generation, kind: 'hard' },
    }),
  },
  pause: {
    action: 'pause',
    from: ['active'],
    task: [null],
    requested: (serverId, generation) => ({ type: 'ServerPauseRequested', data: { serverId, generation } }),
  },
  unpause: {
    action: 'unpause',
    from: ['paused'],
    task: [null],
    requested: (serverId, generation) => ({ type: 'ServerUnpauseRequested', data: { serverId, generation } }),
  },
  suspend: {
    action: 'suspend',
    from: ['active'],
    task: [null],
    requested: (serverId, generation) => ({ type: 'ServerSuspendRequested', data: { serverId, generation } }),
  },
  resume: {
    action: 'resume',
    from: ['suspended'],
    task: [null],
    requested: (serverId, generation) => ({ type: 'ServerResumeRequested', data: { serverId, generation } }),
  },
};

export const power = (server: Server, id: ServerId, operation: PowerOperation, asAdmin: boolean): ServerEvent[] => {
  guard(server, id, asAdmin);
  const rule = powerRules[operation];
  guardState(server, id, rule);
  return [rule.requested(id, server.generation + 1)];
};
