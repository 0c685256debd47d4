import { fail } from '../model/failure.mjs';
import { canBoot, freeMemory } from './placing.mjs';
import { moveInPool } from './vm-migrate.mjs';

const residents = (db, host) =>
  db.childrenOf('VM', 'resident_on', host).filter((vm) => !db.get('VM', vm).is_control_domain);

/** Where each VM of a member would go. @returns {{ vm: string, to: string | null }[]} */
const evacuationPlan = (db, host) =>
  residents(db, host).map((vm) => ({
    vm,
    to: db.refs('host').find((other) => other !== host && canBoot(db, vm, other)) ?? null,
  }));

const assertCanEvacuate = (db, host) => {
  for (const { vm, to } of evacuationPlan(db, host)) if (to === null) fail('NO_HOSTS_AVAILABLE', vm);
};

export const calls = {
  'host.enable': ({ db }, host) => {
    db.set('host', host, { enabled: true });
    return '';
  },
  'host.disable': ({ db }, host) => {
    db.set('host', host, { enabled: false });
    return '';
  },
  'host.compute_free_memory': ({ db }, host) => freeMemory(db, host),
  'host.assert_can_evacuate': ({ db }, host) => {
    assertCanEvacuate(db, host);
    return '';
  },
  'host.get_vms_which_prevent_evacuation': ({ db }, host) =>
    Object.fromEntries(
      evacuationPlan(db, host)
        .filter(({ to }) => to === null)
        .map(({ vm }) => [vm, ['NO_HOSTS_AVAILABLE', vm]]),
    ),
  'host.migrate_receive': ({ db, xapi, session }, host, network) => {
    const { address } = db.get('host', host);
    const pif = db.childrenOf('PIF', 'network', network).find((ref) => db.get('PIF', ref).host === host);
    if (!pif) fail('HOST_CANNOT_ATTACH_NETWORK', host, network);
    const own = xapi.sessions.copy(session.ref);
    const at = (path, of = address) => `${xapi.settings.scheme}://${of}:${xapi.settings.port}${path}?session_id=${own}`;
    return {
      SM: at('/services/SM'),
      host,
      xenops: at('/services/xenops'),
      session_id: own,
      master: `${xapi.settings.scheme}://${xapi.addressOf(xapi.master)}:${xapi.settings.port}/`,
    };
  },
};

export const operations = {
  'host.evacuate': async (context, host) => {
    const { db, task } = context;
    assertCanEvacuate(db, host);
    db.set('host', host, { current_operations: { ...db.get('host', host).current_operations, [task]: 'evacuate' } });
    try {
      for (const { vm, to } of evacuationPlan(db, host))
        await moveInPool(context, vm, to ?? fail('NO_HOSTS_AVAILABLE', vm));
    } finally {
      const { [task]: _, ...left } = db.get('host', host).current_operations;
      db.set('host', host, { current_operations: left });
    }
    return '';
  },
};
