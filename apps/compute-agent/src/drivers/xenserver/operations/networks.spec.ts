import { describe, expect, it } from 'vitest';
import type { GuestNic } from '../../hypervisor-driver.js';
import { never, newId, Pools } from '../testing/pools.js';

const pools = new Pools();
const vlan = (nic: GuestNic, segmentationId: number): GuestNic => ({
  ...nic,
  attachment: { kind: 'provider', networkType: 'vlan', physicalNetwork: 'physnet1', segmentationId },
});

describe('networks', () => {
  it('of a VLAN are found, or made once for all who want them, on whatever member', async () => {
    const drivers = [pools.drive(), pools.drive(), pools.drive({ member: 'xs2' })];
    const specs = drivers.map(() => pools.first.guest(newId(), { nics: [vlan(pools.first.nic(), 77)] }));
    await Promise.all(drivers.map((driver, i) => driver.spawn(specs[i]!, never)));
    const made = pools.first.double.db.all('network').filter(([, { name_label }]) => name_label.startsWith('VLAN 77'));
    expect(made).toHaveLength(1);
    const vifs = pools.first.double.db.all('VIF').filter(([, { network }]) => network === made[0]![0]);
    expect(vifs).toHaveLength(3);
    for (const [i, driver] of drivers.entries()) await driver.destroy(specs[i]!.mark.serverId);
  });

  it('that are not there are refused before anything is made', async () => {
    const driver = pools.drive({ createVlans: false });
    const [nic] = [pools.first.nic()];
    const nowhere = { ...nic.attachment, physicalNetwork: 'physnet9' } as GuestNic['attachment'];
    const tap = { kind: 'tap', tap: 'tap0', netns: null } as const;
    for (const wrong of [vlan(nic, 78), { ...nic, attachment: nowhere }, { ...nic, attachment: tap }]) {
      const spec = pools.first.guest(newId(), { nics: [wrong] });
      // What operators call their networks is for the log.
      const message = expect.not.stringMatching(/physnet/);
      await expect(driver.spawn(spec, never)).rejects.toMatchObject({ code: 'unsupported', message });
      expect(await pools.first.leftovers(spec.mark.serverId, 0)).toEqual([]);
    }
  });

  it('may be named by name or UUID instead of an interface', async () => {
    const [ref, { name_label, uuid }] = pools.first.double.db.all('network')[1]!;
    for (const target of [name_label, uuid]) {
      const driver = pools.drive({ physicalNetworks: { physnet1: target } });
      const { id } = await pools.running(driver);
      const [vif] = pools.first.double.db.childrenOf('VIF', 'VM', pools.first.double.vm(pools.recordOf(id).uuid));
      expect(pools.first.double.db.get('VIF', vif!).network).toBe(ref);
      await driver.destroy(id);
    }
  });

  it('see only senders that their port has, and learn of others while the guest runs', async () => {
    const driver = pools.drive();
    const { id, nics } = await pools.running(driver);
    const vif = () => {
      const [ref] = pools.first.double.db.childrenOf('VIF', 'VM', pools.first.double.vm(pools.recordOf(id).uuid));
      return pools.first.double.db.get('VIF', ref!);
    };
    const [nic] = nics as [GuestNic];
    const { ip } = nic.guard!.addresses[0]!;
    expect(vif()).toMatchObject({ MAC: nic.mac, locking_mode: 'locked', ipv4_allowed: [ip], currently_attached: true });
    const addresses = [...nic.guard!.addresses, { mac: nic.mac, ip: '10.9.9.9' }];
    await driver.nics.attach(id, { ...nic, guard: { ...nic.guard!, addresses } });
    expect(vif()).toMatchObject({ locking_mode: 'locked', ipv4_allowed: [ip, '10.9.9.9'] });
    await driver.nics.attach(id, { ...nic, guard: null });
    expect(vif()).toMatchObject({ locking_mode: 'unlocked', ipv4_allowed: [] });
    await driver.destroy(id);
  });

  it('cannot be locked without a licence: the guest is refused', async () => {
    const free = await pools.start({ restrictions: ['VIF_locking'] });
    const driver = pools.drive({}, free);
    const traits = async (of: typeof driver) => (await of.probe(never)).traits;
    expect(await traits(driver)).not.toContain('CUSTOM_OMNIVISOR_ANTI_SPOOFING');
    expect(await traits(pools.drive())).toContain('CUSTOM_OMNIVISOR_ANTI_SPOOFING');
    const spec = free.guest(newId());
    await expect(driver.spawn(spec, never)).rejects.toMatchObject({ code: 'unsupported' });
    expect(await free.leftovers(spec.mark.serverId, 0)).toEqual([]);
    await driver.spawn({ ...spec, nics: [{ ...spec.nics[0]!, guard: null }] }, never);
    await driver.destroy(spec.mark.serverId);
  });
});
