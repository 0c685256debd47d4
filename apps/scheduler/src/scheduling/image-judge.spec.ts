import { type HostId, judgeImage, type ReserveRequest, type ServerId } from '@omnivisor/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Simulation } from '../testing/simulation.js';
import { hostAggregate } from './host/host-lifecycle.js';

let sim: Simulation;
let hostId: HostId;
let serverId: ServerId;
let request: ReserveRequest;
beforeEach(async () => {
  sim = new Simulation();
  const scheduler = await sim.scheduler();
  hostId = await sim.host(scheduler, 'a', { vcpus: 1, traits: ['HW_ARCH_X86_64', 'CUSTOM_OMNIVISOR_WISHES'] });
  serverId = await sim.server();
  request = sim.request(serverId);
});
afterEach(async () => {
  await sim.stop();
  expect(sim.errors).toEqual([]);
});

const judge = async (
  image: Partial<ReserveRequest['image']>,
  flavor: Partial<ReserveRequest['flavor']> = {},
  use: 'rebuild' | 'rescue' = 'rebuild',
) => {
  const asked = { flavor: { ...request.flavor, ...flavor }, image: { ...request.image, ...image } };
  return (await sim.bus.request(judgeImage, { serverId, hostId, position: await sim.store.head(), use, ...asked }))
    .refusal;
};
const claimed = (change: Partial<ReserveRequest> = {}) => sim.schedulers[0]!.reserve.reserve({ ...request, ...change });
const refused = (why: string) => `No valid host was found. That of the server fails ${why}.`;

describe('the host of a server that gets another image', () => {
  it.each([
    ['its hypervisor', { properties: { img_hv_type: 'xen' } }, 'hypervisor type (wanted xen, has fake)'],
    ['the version of that', { properties: { hypervisor_version_requires: '>=2' } }, 'hypervisor version'],
    [
      'a trait',
      { properties: { 'trait:CUSTOM_GOLD': 'required' } },
      'trait CUSTOM_GOLD (wanted required, has missing)',
    ],
    ['hardware', { properties: { hw_watchdog_action: 'reset' } }, 'hw_watchdog_action (wanted reset, has not offered)'],
  ])('is refused for %s', async (_, image, why) => {
    await claimed();
    expect(await judge(image)).toContain(`That of the server fails ${why}`);
  });

  it('is refused where the guest inside does not start', async () => {
    hostId = await sim.host(sim.schedulers[0]!, 'b', { hypervisorType: 'QEMU' });
    await claimed({ requestedHost: 'b' });
    const readiness = { qemu: { verdict: 'cannot', reason: 'its kernel is paravirtual' } } as const;
    expect(await judge({ readiness })).toBe(
      refused(
        'guest readiness (wanted a hypervisor that the guest in its image starts on, has its kernel is paravirtual)',
      ),
    );
  });

  it('is refused for a property that its guest needs, unless that is the machine of the server and may have it', async () => {
    hostId = await sim.host(sim.schedulers[0]!, 'b', { hypervisorType: 'QEMU' });
    await claimed({ requestedHost: 'b' });
    const needs = [{ property: 'hw_firmware_type', values: ['uefi'], fails: ['bios', null] }];
    const image = { readiness: { qemu: { verdict: 'boots', reason: null, needs } } } as const;
    const bios = { ...image, properties: { hw_firmware_type: 'bios' } };
    expect(await judge(image)).toMatch(/fails guest readiness \(wanted hw_firmware_type=uefi,.* has none\)/);
    expect(await judge(image, {}, 'rescue')).toBeNull();
    expect(await judge(bios, {}, 'rescue')).toMatch(/has bios\)/);
  });

  it('serves it though it is full and disabled, and nothing is claimed', async () => {
    await claimed();
    const { commands } = sim.schedulers[0]!.core;
    await commands.execute(hostAggregate, hostId, { type: 'disable', hostId, reason: null }, sim.context());
    const log = await sim.store.head();
    expect(await judge({ minDisk: 50 as never })).toBeNull();
    expect(await sim.store.head()).toBe(log);
  });

  it('is refused for a disk that its claim has not, where the flavor leaves it to the image', async () => {
    const flavor = { ...request.flavor, disk: 0 as never };
    await claimed({ flavor, image: { ...request.image, minDisk: 5 as never } });
    expect(await judge({ minDisk: 5 as never }, flavor)).toBeNull();
    expect(await judge({ minDisk: 6 as never }, flavor)).toBe(refused('DISK_GB (wanted 6, has 5)'));
    expect(await judge({ minDisk: 6 as never }, flavor, 'rescue')).toBeNull();
  });
});
