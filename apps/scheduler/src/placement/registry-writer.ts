import type { Call } from '@omnivisor/openstack';
import type { SchedulerCore } from '../core/scheduler-core.js';
import type { World } from '../core/world.js';
import { REGISTRY, type RegistryChange, registryAggregate } from '../registry/registry-lifecycle.js';
import { surroundings } from './catalog.js';

/**
 * Changes what clients registered.
 * @returns the world after it, and whether it changed anything
 */
export const register = async (
  core: SchedulerCore,
  call: Call,
  change: RegistryChange,
): Promise<{ readonly world: World; readonly changed: boolean }> => {
  const around = surroundings(await core.fresh());
  const { events } = await core.commands.execute(registryAggregate, REGISTRY, { ...change, around }, call.context());
  return { world: await core.fresh(), changed: events.length > 0 };
};
