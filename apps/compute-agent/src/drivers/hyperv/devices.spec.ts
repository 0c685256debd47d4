import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import type { ServerId } from '@omnivisor/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { recordDisks } from '../../../../../tools/doubles/hyperv/disks/record-disks.mjs';
import { operationFailed } from '../../../../../tools/doubles/hyperv/errors.mjs';
import type { HyperVHost } from '../../../../../tools/doubles/hyperv/host.mjs';
import { newAdapter, newDrive, newMachine } from '../../../../../tools/doubles/hyperv/state.mjs';
import type { GuestNic, GuestSpec, PortGuard } from '../hypervisor-driver.js';
import { plainMac } from './hardware.js';
import type { HyperVDriver } from './hyperv.driver.js';
import { Bench, never } from './testing/bench.js';
import { adapterOf } from './testing/double.js';

const MAC = 'fa:16:3e:00:00:01';
const VLAN = 7;
type Rule = PortGuard['rules'][number];

let bench: Bench;
let host: HyperVHost;
let driver: HyperVDriver;
let spec: GuestSpec & { id: ServerId };
beforeEach(async () => {
  ({ bench, host, driver, spec } = await Bench.guestOn());
});
afterEach(() => bench.close());

const portId = randomUUID();
const nicWith = (change: Partial<Rule>): GuestNic => {
  const rule: Rule = {
    ...{ direction: 'ingress', ethertype: 'IPv4', protocol: 'tcp', portMin: 22, portMax: 22 },
    ...{ remotePrefixes: ['0.0.0.0/0'], ...change },
  };
  return {
    ...{ portId, mac: MAC, mtu: 1500, model: null },
    attachment: { kind: 'provider', networkType: 'vlan', physicalNetwork: 'physnet1', segmentationId: VLAN },
    guard: { addresses: [{ mac: MAC, ip: '10.0.0.5' }], rules: [rule] },
  };
};
const good = nicWith({});
const echoOnly = nicWith({ protocol: 'icmp', portMin: 8, portMax: 0 });

/** Whether it was on the network with less than its guard after any call, as long as the result has not been asked. */
const watchGuard = (adapter: () => ReturnType<typeof newAdapter>) => {
  const open: string[] = [];
  const run = host.run;
  host.run = async (...call: Parameters<typeof run>) => {
    const result = await run.apply(host, call);
    const now = adapter();
    const acls = now?.acls as readonly { Action: string; Weight: number }[] | undefined;
    const denied = acls?.filter(({ Action, Weight }) => Action === 'Deny' && Weight === 1).length;
    if (now?.switch && (now.vlan as number | null) === VLAN && (denied !== 2 || now.macSpoofing === 'On'))
      open.push(call[0]);
    return result;
  };
  return () => {
    host.run = run;
    return open;
  };
};

describe.each([1, 2] as const)('a port of a guest of generation %i that runs', (generation) => {
  const adapter = () => adapterOf(host, spec.id, portId);
  beforeEach(async () => {
    const properties = { hw_machine_type: `hyperv-gen${generation}` };
    spec = { ...spec, image: { ...spec.image, properties }, nics: [good] };
    await driver.spawn(spec, never);
  });

  it('is cut off where its new guard cannot be enforced, and comes back with one that can, never open between', async () => {
    const before = structuredClone(adapter());
    await expect(driver.nics.attach(spec.id, echoOnly)).rejects.toMatchObject({ code: 'unsupported' });
    expect(adapter()).toEqual(before);
    await driver.nics.cutOff(spec.id, portId);
    expect(adapter()).toEqual({ ...before, switch: null });
    await expect(driver.nics.attach(spec.id, echoOnly)).rejects.toMatchObject({ code: 'unsupported' });
    expect(adapter().switch).toBeNull();
    const opened = watchGuard(adapter);
    await driver.nics.attach(spec.id, nicWith({ portMin: 80, portMax: 80 }));
    expect(opened()).toEqual([]);
    expect(adapter()).toMatchObject({ switch: 'External', vlan: VLAN });
    const ports = adapter().acls.map(({ LocalPort }: { LocalPort: string }) => LocalPort);
    expect(ports).toContain('80');
    expect(ports).not.toContain('22');
  });

  it('stays cut off when it cannot be made safe', async () => {
    await driver.nics.cutOff(spec.id, portId);
    host.failNext('Add-VMNetworkAdapterExtendedAcl', operationFailed('failed on purpose'));
    await expect(driver.nics.attach(spec.id, nicWith({ portMin: 80, portMax: 80 }))).rejects.toMatchObject({
      code: 'fault',
    });
    expect(adapter().switch).toBeNull();
  });
});

it.each(['External', 'Lab'])(
  'an adapter that is adopted on %s is on its network only as it is guarded there',
  async (name) => {
    host.facts.switches.push({ ...host.facts.switches[0]!, Name: 'Lab' });
    const path = 'C:\\Theirs\\disk.vhdx';
    mkdirSync(host.local('C:\\Theirs'), { recursive: true });
    recordDisks.create(host.local(path), { format: 'VHDX', type: 'Dynamic', size: 1 << 30 });
    const made = newMachine({
      Name: 'theirs',
      Generation: 2,
      MemoryStartupBytes: 64 << 20,
      Path: 'C:\\Theirs',
      root: '',
    });
    const adapter = { ...newAdapter('theirs'), mac: plainMac(MAC), switch: name, macSpoofing: 'On' };
    host.vms.set(made.Id, { ...made, State: 'Running', drives: [newDrive(path)], adapters: [adapter] });
    const theirs = () => host.vms.get(made.Id).adapters[0];
    const opened = watchGuard(theirs);
    await driver.adoption.adopt(made.Id, spec.mark, [good]);
    expect(theirs()).toMatchObject({ switch: 'External', vlan: VLAN, macSpoofing: 'Off' });
    await driver.adoption.release(spec.id);
    expect(theirs()).toEqual(adapter);
    expect(opened()).toEqual([]);
  },
);
