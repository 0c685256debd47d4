import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { type GuestNic, HypervisorError } from '../../hypervisor-driver.js';
import { type Acl, aclsFor } from '../acls.js';
import type { Wiring } from '../former.js';
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
  IdleSessionTimeout: z.number(),
  IsolationID: z.number(),
});
const OnOff = z.enum(['On', 'Off']);
const Wired = z.object({
  MacAddress: z.string(),
  SwitchName: z.string().nullable(),
  MacAddressSpoofing: OnOff,
  DhcpGuard: OnOff,
  RouterGuard: OnOff,
  VlanSetting: z
    .object({
      OperationMode: z.enum(['Untagged', 'Access', 'Trunk', 'Private']),
      AccessVlanId: z.number(),
      NativeVlanId: z.number(),
      AllowedVlanIdListString: z.string().nullable(),
    })
    .nullable(),
});

type Wired = z.output<typeof Wired>;

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
    const there = await this.find(vmId, mac);
    if (!there)
      await this.host.run('Add-VMNetworkAdapter', { VM: machine(vmId), Name: nic.portId, StaticMacAddress: mac });
    const guarded = nic.guard ? 'On' : 'Off';
    await this.rewire(adapterOf(vmId, mac), there, {
      switch: wire.switch,
      ...{ macSpoofing: nic.guard ? 'Off' : 'On', dhcpGuard: guarded, routerGuard: guarded },
      vlan: wire.vlan === null ? { mode: 'Untagged' } : { mode: 'Access', id: wire.vlan },
      acls,
    });
  }

  /** Leaves it to the guest, with nothing at its other end until it is plugged again. Of one that is not there: succeeds. */
  async cutOff(vmId: string, mac: string): Promise<void> {
    if ((await this.find(vmId, mac))?.SwitchName) await this.disconnect(adapterOf(vmId, mac));
  }

  /**
   * How an adapter is connected and guarded, whoever did it.
   * @throws HypervisorError `unsupported` for one on a private VLAN, which is not put back
   */
  async wiringOf(vmId: string, mac: string): Promise<Wiring> {
    const found = (await this.find(vmId, mac))!;
    const vlan = vlanOf(found);
    if (!vlan) throw new HypervisorError('unsupported', 'a network interface on a private VLAN cannot be adopted');
    return {
      switch: found.SwitchName,
      macSpoofing: found.MacAddressSpoofing,
      dhcpGuard: found.DhcpGuard,
      routerGuard: found.RouterGuard,
      vlan,
      acls: (await this.acls(adapterOf(vmId, mac))).map(former),
    };
  }

  /** As it was, whatever is there now; of an adapter that is not there: succeeds. */
  async restore(vmId: string, mac: string, was: Wiring): Promise<void> {
    const there = await this.find(vmId, mac);
    if (there) await this.rewire(adapterOf(vmId, mac), there, was);
  }

  /** Of an adapter that is not there: succeeds. */
  async unplug(vmId: string, mac: string): Promise<void> {
    if (await this.find(vmId, mac))
      await this.host.run('Remove-VMNetworkAdapter', { VMNetworkAdapter: adapterOf(vmId, mac) });
  }

  private async find(vmId: string, mac: string) {
    const adapters = await this.host.get('Get-VMNetworkAdapter', { VM: machine(vmId) }, Wired);
    return adapters.find((adapter) => adapter.MacAddress === mac);
  }

  /** On a switch and VLAN only as it is guarded there: from one to another it is on none. */
  private async rewire(adapter: HostObject, there: Wired | undefined, to: Wiring): Promise<void> {
    const stays = there?.SwitchName === to.switch && isDeepStrictEqual(vlanOf(there), to.vlan);
    if (there?.SwitchName && !stays) await this.disconnect(adapter);
    await this.protect(adapter, to);
    await this.tag(adapter, to.vlan);
    await this.guard(adapter, to.acls);
    if (to.switch !== null && !stays)
      await this.host.run('Connect-VMNetworkAdapter', { VMNetworkAdapter: adapter, SwitchName: to.switch });
  }

  private disconnect(adapter: HostObject): Promise<void> {
    return this.host.run('Disconnect-VMNetworkAdapter', { VMNetworkAdapter: adapter });
  }

  private protect(
    adapter: HostObject,
    { macSpoofing, dhcpGuard, routerGuard }: Pick<Wiring, 'macSpoofing' | 'dhcpGuard' | 'routerGuard'>,
  ): Promise<void> {
    return this.host.run('Set-VMNetworkAdapter', {
      VMNetworkAdapter: adapter,
      MacAddressSpoofing: macSpoofing,
      DhcpGuard: dhcpGuard,
      RouterGuard: routerGuard,
    });
  }

  private tag(adapter: HostObject, vlan: Wiring['vlan']): Promise<void> {
    return this.host.run('Set-VMNetworkAdapterVlan', {
      VMNetworkAdapter: adapter,
      ...(vlan.mode === 'Untagged' ? { Untagged: true } : {}),
      ...(vlan.mode === 'Access' ? { Access: true, VlanId: vlan.id } : {}),
      ...(vlan.mode === 'Trunk' ? { Trunk: true, NativeVlanId: vlan.native, AllowedVlanIdList: vlan.allowed } : {}),
    });
  }

  /** The difference only, and what is denied at the end comes first: a port is at no time more open than before or after. */
  private async guard(adapter: HostObject, wanted: readonly Acl[]): Promise<void> {
    const there = await this.acls(adapter);
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

  private acls(adapter: HostObject): Promise<z.output<typeof ExistingAcl>[]> {
    return this.host.get('Get-VMNetworkAdapterExtendedAcl', { VMNetworkAdapter: adapter }, ExistingAcl);
  }
}

/** Null: a private one. */
const vlanOf = ({ VlanSetting: vlan }: Wired): Wiring['vlan'] | null => {
  if (!vlan) return { mode: 'Untagged' };
  const { OperationMode: mode } = vlan;
  if (mode === 'Private') return null;
  if (mode === 'Access') return { mode, id: vlan.AccessVlanId };
  if (mode === 'Trunk') return { mode, native: vlan.NativeVlanId, allowed: vlan.AllowedVlanIdListString ?? '' };
  return { mode };
};

/** As it is asked for: what is anything is left out. */
const former = (acl: z.output<typeof ExistingAcl>): Wiring['acls'][number] => {
  const { Direction, Action, Weight, Stateful, IdleSessionTimeout, IsolationID, ...filters } = acl;
  return {
    ...{ Direction, Action, Weight },
    ...Object.fromEntries(Object.entries(filters).filter(([, value]) => value && value.toUpperCase() !== 'ANY')),
    ...(Stateful ? { Stateful, ...(IdleSessionTimeout > 0 ? { IdleSessionTimeout } : {}) } : {}),
    ...(IsolationID > 0 ? { IsolationID } : {}),
  };
};

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
