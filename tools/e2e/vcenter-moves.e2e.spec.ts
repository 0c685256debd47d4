import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ServerId } from '@omnivisor/contracts';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { noSimulator } from '../../apps/compute-agent/src/drivers/vsphere/testing/simulator.js';
import { VcenterUnderTest } from '../../apps/compute-agent/src/drivers/vsphere/testing/vcenter-under-test.js';
import { AllHypervisors, PHYSICAL_NETWORK } from './all-hypervisors.js';
import { Journey } from './journey.js';
import { eventually, RunningCloud } from './running-cloud.js';
import { tinyImage } from './scenario.js';
import { type Shared, sharedThings } from './scenario-things.js';

const HOSTS = ['vsphere', 'vsphere-2'] as const;
const MEMBERS = ['DC0_C0_H0', 'DC0_C0_H1'] as const;
type Which = 0 | 1;

describe.skipIf(noSimulator)(
  `a server that moves cold inside one vCenter${noSimulator === null ? '' : `: ${noSimulator}`}`,
  () => {
    let vcenter: VcenterUnderTest;
    let cloud: RunningCloud;
    let all: AllHypervisors;
    let common: Shared;
    let small: string;
    let journey: Journey;

    const flavor = async (ram: number): Promise<string> => {
      const wanted = { flavor: { name: `of-${ram}`, vcpus: 1, ram, disk: 1 } };
      return (await cloud.admin.post('compute', '/flavors', wanted)).flavor.id;
    };
    const begin = () =>
      Journey.begin(cloud.admin, all, 'vsphere', { flavor: small, image: common.image, network: common.network });

    beforeAll(async () => {
      vcenter = await VcenterUnderTest.start(
        ...['-relocation', '400'],
        // Long enough to be met in the middle.
        ...['CreateSnapshotEx', 'CopyVirtualDisk', 'Destroy'].flatMap((task) => ['-delay', `${task}=700`]),
      );
      cloud = await RunningCloud.start({ bootstrap: false });
      const password = join(vcenter.folder, 'password');
      writeFileSync(password, 'secret\n', { mode: 0o600 });
      const environment = (member: string) => ({
        OMNIVISOR_VSPHERE_URL: vcenter.simulator.url,
        OMNIVISOR_VSPHERE_USER: 'omnivisor',
        OMNIVISOR_VSPHERE_PASSWORD_FILE: password,
        OMNIVISOR_VSPHERE_MEMBER: member,
        OMNIVISOR_VSPHERE_NETWORKS: `${PHYSICAL_NETWORK}=DVS0`,
        OMNIVISOR_VSPHERE_CREATE_PORT_GROUPS: 'true',
      });
      const environments = [environment(MEMBERS[0]), environment(MEMBERS[1])] as const;
      all = await AllHypervisors.start(cloud, [], [{ backend: 'vsphere', environments }]);
      await all.double();
      common = await sharedThings(cloud, tinyImage());
      small = await flavor(64);
      journey = await begin();
    }, 180_000);
    afterEach(async ({ task }) => {
      await vcenter?.simulator.failNoMore();
      if (task.result?.state === 'fail') for (const host of HOSTS) console.log(`--- ${host}\n${all.log(host)}`);
    });
    afterAll(async () => {
      await all?.stop();
      await cloud?.stop({ guests: false });
      await vcenter?.stop();
    }, 60_000);

    const id = () => journey.id as ServerId;
    const migrate = (which: Which) => journey.act({ migrate: { host: HOSTS[which] } });
    const disk = () => vcenter.inside.disk!;
    /** What the vCenter has of the server: each attempt with its member and power, the oldest first. */
    const found = async () =>
      (await vcenter.vmsOf(id())).map(({ host, power }) => {
        const member = vcenter.place.members.find(({ ref }) => host && ref.is(host));
        return `${member?.name} ${power}`;
      });
    const both = (kept: Which) => [`${MEMBERS[kept]} shutdown`, `${MEMBERS[1 - kept]} running`];
    /** On the second host with what the first has kept. */
    const waitsOn = async (which: Which) => {
      const look = async () => {
        const { status, fault, 'OS-EXT-SRV-ATTR:host': host } = await journey.shown();
        return { status, host, fault };
      };
      const seen = await eventually('it waits for a decision', look, (now) => /VERIFY_RESIZE|ERROR/.test(now.status));
      expect(seen).toEqual({ status: 'VERIFY_RESIZE', host: HOSTS[which] });
      expect(await found()).toEqual(both((1 - which) as Which));
    };
    const restsOn = async (which: Which) => {
      await journey.restsOn(HOSTS[which]);
      expect(await found()).toEqual([`${MEMBERS[which]} running`]);
      const holders = (await vcenter.vms()).filter(({ holder }) => holder?.includes(journey.id));
      expect(holders).toEqual([]);
    };
    /** Until the move has come to that step. */
    const does = (task: string) =>
      eventually(
        `it is in ${task}`,
        async () => (await journey.shown())['OS-EXT-STS:task_state'],
        (now) => now === task,
      );

    it('is there with its disk and its ports, and stays when that is confirmed', async () => {
      await disk().write(id(), 0, 'M');
      const ports = await journey.ports();
      await migrate(1);
      await waitsOn(1);
      expect(await disk().read(id(), 0)).toBe('M');
      expect(await journey.ports()).toEqual(ports.map((port) => ({ ...port, host: HOSTS[1] })));
      await journey.act({ confirmResize: null });
      await restsOn(1);
      expect([(await journey.newest())?.status, await disk().read(id(), 0)]).toEqual(['confirmed', 'M']);
    }, 90_000);

    it('goes back to what it was when it is reverted', async () => {
      await disk().write(id(), 0, 'B');
      await journey.act({ migrate: null });
      await waitsOn(0);
      await disk().write(id(), 0, 'C');
      await journey.act({ revertResize: null });
      await restsOn(1);
      expect([(await journey.newest())?.status, await disk().read(id(), 0)]).toEqual(['reverted', 'B']);
    }, 90_000);

    it('is resized on another member where its own has no room', async () => {
      const [provider] = await journey.claims();
      const { inventories } = await cloud.admin.get('placement', `/resource_providers/${provider}/inventories`);
      const { total, reserved, allocation_ratio: ratio } = inventories.MEMORY_MB;
      const [wide, filler] = [Math.floor(total * 0.5), Math.floor(total * 0.6)];
      const fillers: string[] = [];
      const fills = await flavor(filler);
      for (let room = (total - reserved) * ratio - 64; room >= wide - 64; room -= filler) {
        const { server } = await cloud.admin.post('compute', '/servers', {
          server: {
            ...{ name: `filler-${fillers.length}`, imageRef: common.image, flavorRef: fills },
            ...{ networks: 'none', availability_zone: `nova:${HOSTS[1]}` },
          },
        });
        fillers.push(server.id);
        const status = async () => (await cloud.admin.get('compute', `/servers/${server.id}`)).server.status;
        await eventually('the host is filled', status, (now) => now === 'ACTIVE');
      }
      await journey.act({ resize: { flavorRef: await flavor(wide) } });
      await waitsOn(0);
      expect((await vcenter.vmsOf(id())).map(({ memoryMib }) => memoryMib)).toEqual([64, wide]);
      expect(await disk().read(id(), 0)).toBe('B');
      await journey.act({ confirmResize: null });
      await restsOn(0);
      await journey.act({ resize: { flavorRef: small } });
      await eventually(
        'it is small again',
        () => journey.shown(),
        ({ status }) => status === 'VERIFY_RESIZE',
      );
      await journey.act({ confirmResize: null });
      await restsOn(0);
      for (const each of fillers) await cloud.admin.delete('compute', `/servers/${each}`);
    }, 120_000);

    it('moves live afterwards, and cold after it moved live', async () => {
      await journey.migrate();
      await restsOn(1);
      await migrate(0);
      await waitsOn(0);
      await journey.act({ revertResize: null });
      await restsOn(1);
      await migrate(0);
      await waitsOn(0);
      await journey.act({ confirmResize: null });
      await restsOn(0);
      await journey.migrate();
      await restsOn(1);
      expect(await disk().read(id(), 0)).toBe('B');
    }, 120_000);

    it.each([
      [1, 'resize_migrating'],
      [0, 'resize_migrating'],
      [0, 'resize_finish'],
    ] as const)(
      'arrives although the agent of host %i is killed in %s',
      async (which, task) => {
        await migrate(0);
        await does(task);
        const again = await all.crash(HOSTS[which]);
        await again();
        await waitsOn(0);
        expect(await disk().read(id(), 0)).toBe('B');
        await journey.act({ revertResize: null });
        await does('resize_reverting');
        await (await all.crash(HOSTS[which]))();
        await restsOn(1);
        expect(await disk().read(id(), 0)).toBe('B');
      },
      120_000,
    );

    it('goes back to a host that its vCenter had lost meanwhile', async () => {
      await migrate(0);
      await waitsOn(0);
      await vcenter.simulator.connect(MEMBERS[1], false);
      await vcenter.simulator.failNext('PowerOnVM_Task', 'HostNotConnected', 1_000);
      await journey.act({ revertResize: null });
      await eventually('the target has nothing of it', found, (now) => now.length === 1);
      expect(await found()).toEqual([`${MEMBERS[1]} noState`]);
      await vcenter.simulator.connect(MEMBERS[1], true);
      await vcenter.simulator.failNoMore();
      await eventually(
        'it rests',
        () => journey.shown(),
        (now) => now['OS-EXT-STS:task_state'] === null,
      );
      if ((await journey.shown()).status !== 'ACTIVE') await journey.act({ 'os-start': null });
      await restsOn(1);
      expect(await disk().read(id(), 0)).toBe('B');
      const health = async () => {
        const { hypervisors } = await cloud.admin.get('compute', '/os-hypervisors/detail');
        return hypervisors.map(({ status }: { status: string }) => status);
      };
      await eventually('the host takes servers again', health, (now) => !now.includes('disabled'));
    }, 120_000);

    it.each(['resize_migrating', 'resize_finish', null])(
      'leaves nothing on either host when it is deleted in the middle: %s',
      async (task) => {
        const stays = journey;
        journey = await begin();
        await migrate(1);
        if (task === null) await waitsOn(1);
        else await does(task);
        await journey.end();
        await eventually('the vCenter has nothing of it', found, (now) => now.length === 0);
        const claims = () => journey.claims();
        await eventually('its claims have ended', claims, (left) => left.length === 0);
        expect((await vcenter.vms()).filter(({ holder }) => holder?.includes(journey.id))).toEqual([]);
        journey = stays;
        await restsOn(1);
      },
      90_000,
    );
  },
);
