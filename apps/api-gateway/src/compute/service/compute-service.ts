import { DomainError, type Instant, schedulerState } from '@omnivisor/contracts';
import type { GatewayCore } from '../../core/gateway-core.js';
import type { HostRow } from '../host/host.projection.js';
import { statusOf } from '../host/host-health.js';

/** What runs servers on a host, by Nova's name. */
export const BINARY = 'nova-compute';

/** A process of the cloud as Compute shows it. */
export interface ComputeService {
  readonly id: string;
  readonly binary: string;
  readonly host: string;
  readonly zone: string;
  readonly status: 'enabled' | 'disabled';
  readonly up: boolean;
  /** Null when nothing is known of it. */
  readonly updatedAt: Instant | null;
  readonly disabledReason: string | null;
  readonly forcedDown: boolean;
}

export const serviceOf = (host: HostRow): ComputeService => {
  const { status, reason } = statusOf(host);
  return {
    ...{ id: host.id, binary: BINARY, host: host.name, zone: host.availabilityZone, status, up: host.up },
    ...{ updatedAt: host.updatedAt, disabledReason: reason, forcedDown: host.fenced },
  };
};

/** One for the cloud, whichever of its processes is the active one. */
export const SCHEDULER = {
  ...{ id: '5c4ed01e-6d0c-4c1b-9a57-6f0f5a1d2b3c', binary: 'nova-scheduler', host: 'scheduler', zone: 'internal' },
  ...{ status: 'enabled' as const, disabledReason: null, forcedDown: false },
};

/** The scheduler is up while one decides. */
export const schedulerService = async (core: GatewayCore): Promise<ComputeService> => {
  const { decides: up } = await core.bus.request(schedulerState, {}).catch((error: unknown) => {
    if (error instanceof DomainError && error.kind === 'unavailable') return { decides: false };
    throw error;
  });
  return { ...SCHEDULER, up, updatedAt: up ? core.clock.now() : null };
};
