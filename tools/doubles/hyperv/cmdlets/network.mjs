import { LiveObject } from '../binder.mjs';
import { invalidParameter, invalidState } from '../errors.mjs';
import { adapterObject } from '../objects.mjs';
import { newAdapter } from '../state.mjs';
import { machines } from './vm.mjs';

const adapters = (host, parameters) => {
  if (parameters.VMNetworkAdapter) return [parameters.VMNetworkAdapter].flat();
  const names = parameters.VMNetworkAdapterName ?? (parameters.VM || parameters.VMName ? parameters.Name : undefined);
  return machines(host, parameters).flatMap((vm) =>
    vm.adapters
      .filter((a) => names === undefined || [names].flat().includes(a.name))
      .map((adapter) => ({ vm, adapter })),
  );
};

const switchNamed = (host, name) => {
  const found = host.facts.switches.find((s) => s.Name === name);
  if (!found) throw invalidParameter(`Hyper-V was unable to find a virtual switch with name "${name}".`);
  return found.Name;
};

const macAddress = (text) => {
  const digits = text.replace(/[-:]/g, '').toUpperCase();
  if (!/^[0-9A-F]{12}$/.test(digits)) throw invalidParameter(`'${text}' is not a valid MAC address.`);
  return digits;
};

const change = (apply) => async (host, parameters) => {
  for (const { vm, adapter } of adapters(host, parameters)) apply(host, vm, adapter, parameters);
  return [];
};

export const networkCmdlets = {
  'Get-VMSwitch': async (host, { Name, SwitchType }) =>
    host.facts.switches
      .filter((s) => (Name === undefined || s.Name === Name) && (!SwitchType || SwitchType.includes(s.SwitchType)))
      .map((s) => new LiveObject('VMSwitch', s)),

  'Get-VMNetworkAdapter': async (host, parameters) => {
    if (parameters.ManagementOS) return [];
    return adapters(host, parameters).map(({ vm, adapter }) => adapterObject(vm, adapter));
  },
  'Add-VMNetworkAdapter': async (host, p) => {
    if (p.ManagementOS || p.IsLegacy) throw new Error('the double adds synthetic adapters of guests only');
    const made = [];
    for (const vm of machines(host, p)) {
      if (vm.Generation === 1 && vm.State !== 'Off')
        throw invalidState(
          `Failed to add device 'Synthetic Ethernet Port'. The virtual machine '${vm.Name}' must be turned off: a generation 1 virtual machine takes no network adapter while it runs.`,
        );
      const limit = vm.Generation === 2 && host.facts.build >= 17763 ? 64 : 8;
      if (vm.adapters.length >= limit)
        throw invalidParameter(`'${vm.Name}' cannot have more than ${limit} synthetic adapters.`);
      const adapter = newAdapter(p.Name ?? 'Network Adapter');
      if (p.StaticMacAddress) Object.assign(adapter, { mac: macAddress(p.StaticMacAddress), dynamicMac: false });
      if (p.SwitchName) adapter.switch = switchNamed(host, p.SwitchName);
      vm.adapters.push(adapter);
      made.push(adapterObject(vm, adapter));
    }
    return p.Passthru ? made : [];
  },
  'Remove-VMNetworkAdapter': change((_, vm, adapter) => {
    if (vm.Generation === 1 && vm.State !== 'Off')
      throw invalidState(
        `Failed to remove device 'Synthetic Ethernet Port'. The virtual machine '${vm.Name}' must be turned off.`,
      );
    vm.adapters.splice(vm.adapters.indexOf(adapter), 1);
  }),
  'Connect-VMNetworkAdapter': change((host, _, adapter, { SwitchName, VMSwitch }) => {
    adapter.switch = VMSwitch ? VMSwitch.Name : switchNamed(host, SwitchName);
  }),
  'Disconnect-VMNetworkAdapter': change((_, __, adapter) => {
    adapter.switch = null;
  }),
  'Set-VMNetworkAdapter': change((_, vm, adapter, p) => {
    if (p.StaticMacAddress !== undefined) {
      if (vm.State !== 'Off') throw invalidState(`The MAC address of '${vm.Name}' cannot be changed while it runs.`);
      Object.assign(adapter, { mac: macAddress(p.StaticMacAddress), dynamicMac: false });
    }
    if (p.MacAddressSpoofing) adapter.macSpoofing = p.MacAddressSpoofing;
    if (p.DhcpGuard) adapter.dhcpGuard = p.DhcpGuard;
    if (p.RouterGuard) adapter.routerGuard = p.RouterGuard;
  }),

  'Set-VMNetworkAdapterVlan': change((_, __, adapter, { Access, VlanId, Untagged, Trunk, ...others }) => {
    const modes = ['Isolated', 'Community', 'Promiscuous'].filter((mode) => others[mode]);
    if (modes.length > 0) throw new Error(`the double has no VLAN mode ${modes}`);
    if ([Access, Untagged, Trunk].filter(Boolean).length !== 1)
      throw invalidParameter('Exactly one VLAN mode has to be given.');
    if (Access && !(VlanId >= 1 && VlanId <= 4094)) throw invalidParameter('The VLAN id has to be between 1 and 4094.');
    if (Trunk && (others.NativeVlanId === undefined || !others.AllowedVlanIdList))
      throw invalidParameter('A trunk needs its native VLAN and the list of those that are allowed.');
    adapter.vlan = Access ? VlanId : null;
    adapter.trunk = Trunk ? { native: others.NativeVlanId, allowed: others.AllowedVlanIdList } : null;
  }),

  'Get-VMNetworkAdapterExtendedAcl': async (host, parameters) =>
    adapters(host, parameters).flatMap(({ adapter }) =>
      adapter.acls.map((acl) => new LiveObject('VMNetworkAdapterExtendedAclSetting', { adapter, acl })),
    ),
  'Add-VMNetworkAdapterExtendedAcl': change((_, __, adapter, p) => {
    if (p.Weight < 1 || p.Weight > 65500)
      throw invalidParameter('The weight of an extended ACL is between 1 and 65500.');
    if (adapter.acls.some((acl) => acl.Weight === p.Weight && acl.Direction === p.Direction))
      throw invalidParameter(`There is an extended ACL of direction ${p.Direction} and weight ${p.Weight} already.`);
    const protocol = p.Protocol ?? '';
    if ((p.LocalPort || p.RemotePort) && !/^(tcp|udp)$/i.test(protocol))
      throw invalidParameter('Ports need protocol TCP or UDP.');
    if (p.Stateful && p.Action === 'Deny') throw invalidParameter('A stateful extended ACL allows.');
    adapter.acls.push({
      Direction: p.Direction,
      Action: p.Action,
      LocalIPAddress: p.LocalIPAddress ?? 'ANY',
      RemoteIPAddress: p.RemoteIPAddress ?? 'ANY',
      LocalPort: p.LocalPort ?? 'ANY',
      RemotePort: p.RemotePort ?? 'ANY',
      Protocol: p.Protocol ?? 'ANY',
      Weight: p.Weight,
      Stateful: p.Stateful ?? false,
      IdleSessionTimeout: p.IdleSessionTimeout ?? 0,
      IsolationID: p.IsolationID ?? 0,
    });
  }),
  'Remove-VMNetworkAdapterExtendedAcl': async (host, parameters) => {
    if (parameters.InputObject) {
      for (const { adapter, acl } of parameters.InputObject) adapter.acls.splice(adapter.acls.indexOf(acl), 1);
      return [];
    }
    for (const { adapter } of adapters(host, parameters)) {
      const at = adapter.acls.findIndex(
        (acl) => acl.Weight === parameters.Weight && acl.Direction === parameters.Direction,
      );
      if (at < 0) throw invalidParameter('There is no such extended ACL.');
      adapter.acls.splice(at, 1);
    }
    return [];
  },
};
