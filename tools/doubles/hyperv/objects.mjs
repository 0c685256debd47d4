import { LiveObject, moduleTable } from './binder.mjs';
import { ErrorRecord } from './errors.mjs';

/** Objects as the cmdlets give them: the documented properties of what they stand for. */

export const vmObject = (vm) => new LiveObject('VirtualMachine', vm);
export const driveObject = (vm, drive) => new LiveObject(drive.kind, { vm, drive });
export const adapterObject = (vm, adapter) => new LiveObject('VMNetworkAdapter', { vm, adapter });
export const snapshotObject = (vm, snapshot) => new LiveObject('VMSnapshot', { vm, snapshot });

const seconds = (vm, now) => (vm.startedAt && vm.State !== 'Off' ? (now - Date.parse(vm.startedAt)) / 1000 : 0);

const ofVm = (vm, host) => {
  const running = vm.State === 'Running' || vm.State === 'Paused';
  return {
    Id: vm.Id,
    Name: vm.Name,
    State: vm.State,
    Generation: vm.Generation,
    Version: vm.Version,
    Notes: vm.Notes,
    Path: vm.Path,
    ConfigurationLocation: vm.Path,
    CreationTime: vm.CreationTime,
    ProcessorCount: vm.processors,
    MemoryStartup: vm.memory.startup,
    MemoryMinimum: vm.memory.minimum,
    MemoryMaximum: vm.memory.maximum,
    DynamicMemoryEnabled: vm.memory.dynamic,
    MemoryAssigned: running ? vm.memory.startup : 0,
    MemoryDemand: running ? Math.floor(vm.memory.startup / 2) : 0,
    CPUUsage: 0,
    Uptime: Math.round(seconds(vm, Date.now()) * 1000),
    Heartbeat: vm.State === 'Running' ? 'OkApplicationsUnknown' : null,
    CheckpointType: vm.checkpointType,
    ComPort1: { Path: vm.com[0] ?? '' },
    ComPort2: { Path: vm.com[1] ?? '' },
    ResourceMeteringEnabled: vm.metering,
    AutomaticStartAction: vm.startAction,
    AutomaticStopAction: vm.stopAction,
    IsClustered: false,
    Status: 'Operating normally',
    ComputerName: host.name,
    IsDeleted: false,
  };
};

const VIEWS = {
  VirtualMachine: ofVm,
  VMSnapshot: ({ vm, snapshot }, host) => ({
    Id: snapshot.id,
    Name: snapshot.name,
    SnapshotType: 'Standard',
    VMId: vm.Id,
    VMName: vm.Name,
    CreationTime: snapshot.createdAt,
    ComputerName: host.name,
  }),
  HardDiskDrive: ({ vm, drive }) => ({ ...place(vm, drive), Path: drive.path, DiskNumber: drive.diskNumber ?? null }),
  DvdDrive: ({ vm, drive }) => ({ ...place(vm, drive), Path: drive.path, DvdMediaType: drive.path ? 'ISO' : 'None' }),
  VMNetworkAdapter: ({ vm, adapter }) => ({
    Id: `Microsoft:${vm.Id}\\${adapter.id}`,
    Name: adapter.name,
    MacAddress: adapter.mac,
    DynamicMacAddressEnabled: adapter.dynamicMac,
    SwitchName: adapter.switch,
    Connected: adapter.switch !== null,
    MacAddressSpoofing: adapter.macSpoofing,
    DhcpGuard: adapter.dhcpGuard,
    RouterGuard: adapter.routerGuard,
    VlanSetting: new LiveObject('VMNetworkAdapterVlanSetting', { adapter }),
    IsLegacy: false,
    IsSynthetic: true,
    IPAddresses: [],
    VMId: vm.Id,
    VMName: vm.Name,
  }),
  VMNetworkAdapterVlanSetting: ({ adapter: { vlan, trunk } }) => ({
    OperationMode: trunk ? 'Trunk' : vlan === null ? 'Untagged' : 'Access',
    AccessVlanId: vlan ?? 0,
    NativeVlanId: trunk?.native ?? 0,
    AllowedVlanIdListString: trunk?.allowed ?? '',
  }),
  VMNetworkAdapterExtendedAclSetting: ({ acl }) => acl,
  VMFirmware: ({ vm }) => ({
    SecureBoot: vm.firmware.secureBoot,
    SecureBootTemplate: vm.firmware.template,
    VMId: vm.Id,
    VMName: vm.Name,
  }),
  VMIntegrationComponent: ({ vm, name }) => ({
    Name: name,
    Enabled: vm.integration[name],
    PrimaryOperationalStatus: vm.State === 'Running' && vm.integration[name] ? 'Ok' : null,
    VMId: vm.Id,
    VMName: vm.Name,
  }),
};

const place = (vm, drive) => ({
  Id: `Microsoft:${vm.Id}\\${drive.id}`,
  ControllerType: drive.type,
  ControllerNumber: drive.number,
  ControllerLocation: drive.location,
  VMId: vm.Id,
  VMName: vm.Name,
});

/** The properties of an object; of a plain one its own. */
export const propertiesOf = (object, host) =>
  object instanceof LiveObject ? (VIEWS[object.type]?.(object.value, host) ?? object.value) : object;

/** Refuses what no documentation has: on a real host it would silently be null. */
export const refuseUndocumented = (object, names) => {
  if (!(object instanceof LiveObject)) return;
  const known = moduleTable.objects[object.type];
  for (const name of names)
    if (known && !(name in known))
      throw new ErrorRecord({
        id: 'UndocumentedProperty',
        category: 'InvalidArgument',
        message: `${object.type} has no property ${name}.`,
      });
};
