import { z } from 'zod';
import type { GuestNic } from '../../hypervisor-driver.js';
import { type Acl, aclsFor } from '../acls.js';
import { plainMac, type Wire } from '../hardware.js';
import { type HostObject, hostObject, machine } from '../host-call.js';
import type { HostConnection } from '../host-connection.js';

const Adapter = z.object({ MacAddress: z.string(), SwitchName: z.string().nullable() });
const ExistingAcl = z.object({
  Direction: z.enum(['Inbound', 'Outbound']),
  Action: z.enum(['Allow', 'Deny']),
  Weight: z.number(),
  LocalIPAddress: z.string().nullable(),
  RemoteIPAddress: z.string().nullable(),
  LocalPort: z.string().nullable(),
  RemotePort: z.string().nullable(),
  Protocol: z.string().nullable(),
  Stateful: z.boolean(),
});

/** Network adapters, each known by its MAC address. */
export class Adapters {
  constructor(private readonly host: HostConnection) {}

  list(vmId: string): Promise<z.output<typeof Adapter>[]> {
    return this.host.get('Get-VMNetworkAdapter', { VM: machine(vmId) }, Adapter);
  }

  /** Adds the adapter unconnected, makes it safe, and only then plugs it in; again to bring it up to date. */
  async plug(vmId: string, nic: GuestNic, wire: Wire): Promise<void> {
    const mac = plainMac(nic.mac);
    const acls = nic.guard ? aclsFor(nic, nic.guard) : [];
    const there = (await this.list(vmId)).find((a) => a.MacAddress === mac);
    if (!there)
      await this.host.run('Add-VMNetworkAdapter', { VM: machine(vmId), Name: nic.portId, StaticMacAddress: mac });
    const adapter = adapterOf(vmId, mac);
    const guarded = nic.guard ? 'On' : 'Off';
    await this.host.run('Set-VMNetworkAdapter', {
      VMNetworkAdapter: adapter,
      MacAddressSpoofing: nic.guard ? 'Off' : 'On',
      DhcpGuard: guarded,
      RouterGuard: guarded,
    });
    await this.host.run(
      'Set-VMNetworkAdapterVlan',
      wire.vlan === null
        ? { VMNetworkAdapter: adapter, Untagged: true }
        : { VMNetworkAdapter: adapter, Access: true, VlanId: wire.vlan },
    );
    await this.guard(adapter, acls);
    if (there?.SwitchName !== wire.switch)
      await this.host.run('Connect-VMNetworkAdapter', { VMNetworkAdapter: adapter, SwitchName: wire.switch });
  }

  /** Of an adapter that is not there: succeeds. */
  async unplug(vmId: string, mac: string): Promise<void> {
    if (!(await this.list(vmId)).some((a) => a.MacAddress === mac)) return;
    await this.host.run('Remove-VMNetworkAdapter', { VMNetworkAdapter: adapterOf(vmId, mac) });
  }

  /** The difference only, and what is denied at the end comes first: a port is at no time more open than before or after. */
  private async guard(adapter: HostObject, wanted: readonly Acl[]): Promise<void> {
    const there = await this.host.get('Get-VMNetworkAdapterExtendedAcl', { VMNetworkAdapter: adapter }, ExistingAcl);
    const keep = new Set(wanted.map(keyOf));
    const has = new Set(there.map((acl) => keyOf(comparable(acl))));
    const places = new Set(there.map(placeOf));
    const remove = (acl: { Direction: Acl['Direction']; Weight: number }) =>
      this.host.run('Remove-VMNetworkAdapterExtendedAcl', {
        VMNetworkAdapter: adapter,
        Direction: acl.Direction,
        Weight: acl.Weight,
      });
    for (const acl of wanted.toReversed().filter((a) => !has.has(keyOf(a)))) {
      if (places.has(placeOf(acl))) await remove(acl);
      await this.host.run('Add-VMNetworkAdapterExtendedAcl', { VMNetworkAdapter: adapter, ...acl });
    }
    const taken = new Set(wanted.map(placeOf));
    for (const acl of there) if (!keep.has(keyOf(comparable(acl))) && !taken.has(placeOf(acl))) await remove(acl);
  }
}

const adapterOf = (vmId: string, mac: string): HostObject =>
  hostObject('Get-VMNetworkAdapter', { VM: machine(vmId) }, { MacAddress: mac });

const placeOf = ({ Direction, Weight }: { Direction: string; Weight: number }) => `${Direction} ${Weight}`;

/** Every member said, so that two can be compared. */
const keyOf = (acl: Acl): string =>
  JSON.stringify([
    ...[acl.Direction, acl.Action, acl.Weight, acl.LocalIPAddress ?? 'ANY', acl.RemoteIPAddress ?? 'ANY'],
    ...[acl.LocalPort ?? 'ANY', acl.RemotePort ?? 'ANY', acl.Protocol ?? 'ANY', acl.Stateful ?? false],
  ]);

const comparable = (acl: z.output<typeof ExistingAcl>): Acl => {
  const said = (text: string | null) => (text === null || text === '' ? 'ANY' : text.toUpperCase());
  return {
    ...acl,
    LocalIPAddress: said(acl.LocalIPAddress),
    RemoteIPAddress: said(acl.RemoteIPAddress),
    LocalPort: said(acl.LocalPort),
    RemotePort: said(acl.RemotePort),
    Protocol: said(acl.Protocol),
  };
};
