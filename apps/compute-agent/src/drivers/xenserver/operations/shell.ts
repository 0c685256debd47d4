import { HypervisorError } from '../../hypervisor-driver.js';
import type { XapiSession } from '../transport/xapi-session.js';
import { type GuestState, STATE_KEY } from './guest-state.js';
import { machineFor, PLAIN_TEMPLATE } from './hardware.js';
import type { PifRecord, Ref } from './records.js';

/** A VM that never runs and has no disks: it keeps a server's place. */
export const makeShell = async (xapi: XapiSession, name: string, state: GuestState): Promise<Ref> => {
  const { vcpus, memoryMib } = state.size;
  const wish = {
    ...{ name, description: `server ${state.serverId}`, vcpus, memoryMib },
    ...{ extraSpecs: {}, properties: {}, directBoot: false },
  };
  const record = machineFor(wish, { hvm: true, pv: true, uefi: false, secureBoot: false }, PLAIN_TEMPLATE);
  const ref = await xapi.call<Ref>('VM.create', {
    ...record,
    other_config: { [STATE_KEY]: JSON.stringify(state) },
  });
  await xapi.call('VM.add_to_blocked_operations', ref, 'start', 'it is only the place of a server that moves');
  return ref;
};

/** Lets a guest in by the member's management network. @returns how the sender reaches it; a secret */
export const openDestination = async (xapi: XapiSession, host: Ref): Promise<Record<string, string>> => {
  const pifs = await xapi.call<Record<Ref, PifRecord>>('PIF.get_all_records');
  const pif = Object.values(pifs).find((p) => p.host === host && p.management);
  if (!pif) throw new HypervisorError('fault', 'the member has no management interface');
  return xapi.call('host.migrate_receive', host, pif.network, {});
};
