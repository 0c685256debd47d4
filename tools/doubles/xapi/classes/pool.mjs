import { fail } from '../model/failure.mjs';

const assertTag = (tag) => {
  if (tag < 0 || tag > 4094) fail('VLAN_TAG_INVALID', tag);
};

/** The interface of each member that carries a network's packets with a tag. */
const makeVlan = (db, physical, network, tag) => {
  const { host, device, MAC, MTU } = db.get('PIF', physical);
  const taken = db.all('PIF').some(([, pif]) => pif.host === host && pif.device === device && pif.VLAN === tag);
  if (taken) fail('PIF_VLAN_EXISTS', device);
  const untagged = db.create('PIF', {
    ...{ device, MAC, MTU, host, network, VLAN: tag, physical: false, currently_attached: true },
  });
  const vlan = db.create('VLAN', { tagged_PIF: physical, untagged_PIF: untagged, tag });
  db.set('PIF', untagged, { VLAN_master_of: vlan });
  return untagged;
};

export const calls = {
  'pool.create_VLAN_from_PIF': ({ db }, pif, network, tag) => {
    assertTag(tag);
    const { device, VLAN } = db.get('PIF', pif);
    if (VLAN >= 0) fail('PIF_IS_VLAN', pif);
    if (!db.has('network', network)) fail('HANDLE_INVALID', 'network', network);
    const [other] = db.childrenOf('PIF', 'network', network);
    if (other) fail('NETWORK_ALREADY_CONNECTED', network, other);
    const physical = db.all('PIF').filter(([, p]) => p.device === device && p.VLAN === -1);
    return physical.map(([ref]) => makeVlan(db, ref, network, tag));
  },

  'VLAN.destroy': ({ db }, vlan) => {
    const { untagged_PIF: pif } = db.get('VLAN', vlan);
    if (db.has('PIF', pif)) db.destroy('PIF', pif);
    db.destroy('VLAN', vlan);
    return '';
  },

  'network.create': ({ db }, args) => {
    const n = db.refs('network').length;
    return db.create('network', { ...args, bridge: args.bridge || `xapi${n}` });
  },
  'network.destroy': ({ db }, network) => {
    const vifs = db.childrenOf('VIF', 'network', network);
    if (vifs.length > 0) fail('NETWORK_CONTAINS_VIF', vifs.join(','));
    const pifs = db.childrenOf('PIF', 'network', network);
    if (pifs.length > 0) fail('NETWORK_CONTAINS_PIF', pifs.join(','));
    db.destroy('network', network);
    return '';
  },
  'network.set_default_locking_mode': ({ db }, network, mode) => {
    db.set('network', network, { default_locking_mode: mode });
    return '';
  },

  'pool.designate_new_master': ({ db, xapi }, host) => {
    if (!db.has('host', host)) fail('HANDLE_INVALID', 'host', host);
    if (!db.get('host_metrics', db.get('host', host).metrics).live) fail('HOST_OFFLINE', host);
    xapi.afterAnswer(() => xapi.changeMaster(host));
    return '';
  },

  'session.logout': ({ xapi, session }) => {
    xapi.sessions.logout(session.ref);
    return '';
  },

  'event.from': ({ xapi, session }, classes, token, timeout) => xapi.events.from(session.ref, classes, token, timeout),
  'event.inject': ({ xapi }, name, ref) => xapi.events.inject(name, ref),

  'task.create': ({ xapi, host }, label, description) => xapi.tasks.create(label, description, host),
  'task.destroy': ({ xapi }, task) => {
    xapi.tasks.destroy(task);
    return '';
  },
  'task.cancel': ({ db, xapi }, task) => {
    db.get('task', task);
    xapi.tasks.cancel(task);
    return '';
  },
};
