import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { which } from '../services/process.mjs';
import { AllHypervisors } from './all-hypervisors.js';
import { Journey } from './journey.js';
import { eventually, RunningCloud } from './running-cloud.js';
import { tinyImage } from './scenario.js';
import { sharedThings } from './scenario-things.js';
import { serial } from './serial.js';

const [ONE, TWO] = ['xenserver', 'xenserver-2'];
/** MiB of each member. */
const MEMORY = 2_048;

describe.skipIf(!which('qemu-system-x86_64'))(
  'a server that moves between two members of one pool (needs qemu-system-x86_64)',
  () => {
    let cloud: RunningCloud;
    let all: AllHypervisors;
    let journey: Journey;
    let flavors: readonly [small: string, large: string];

    beforeAll(async () => {
      cloud = await RunningCloud.start({ bootstrap: false });
      // Starts and moves are slow enough to be met in the middle.
      const settings = { guests: 'qemu', memoryMib: MEMORY, latencies: { start_on: 1_500, pool_migrate: 500 } };
      all = await AllHypervisors.start(cloud, ['xenserver'], [], 60, settings);
      await all.double();
      const { network, image } = await sharedThings(cloud, tinyImage(), { vm_mode: 'xen' });
      const { resource_providers: providers } = await cloud.admin.get('placement', `/resource_providers?name=${ONE}`);
      const { inventories } = await cloud.admin.get(
        'placement',
        `/resource_providers/${providers[0].uuid}/inventories`,
      );
      const { total, reserved, allocation_ratio: ratio } = inventories.MEMORY_MB;
      const most = Math.floor((total - reserved) * ratio);
      const make = async (name: string, ram: number) =>
        (await cloud.admin.post('compute', '/flavors', { flavor: { name, vcpus: 1, ram, disk: 1 } })).flavor.id;
      flavors = [await make('small', 64), await make('large', most - 32)];
      journey = await Journey.begin(cloud.admin, all, ONE!, { flavor: flavors[0], image, network });
    }, 180_000);
    afterAll(async () => {
      await all?.stop();
      await cloud?.stop({ guests: false });
    }, 60_000);

    /** What the guest answers on its serial console. */
    const told = async (say: string, answer: RegExp) => {
      const { remote_console: opened } = await cloud.admin.post('compute', `/servers/${journey.id}/remote-consoles`, {
        remote_console: { protocol: 'serial', type: 'serial' },
      });
      return serial(opened.url, say, answer);
    };
    /** A guest that has just been started may not hear the first of what it is told. */
    const answers = (say: string, letter: string) =>
      eventually(
        `the guest answers ${say} with ${letter}`,
        () => told(say, /\[.\]/),
        (said) => `${said}`.includes(`[${letter}]`),
        50,
      );
    const write = (letter: string) => answers(`w0${letter}`, letter);
    const reads = (letter: string) => answers('r0', letter);
    const explained = async <T>(work: Promise<T>): Promise<T> =>
      work.catch((error) => {
        throw new Error(`${error.message}\n${[ONE!, TWO!].map((host) => `--- ${host}\n${all.log(host)}`).join('\n')}`);
      });
    /** Moved, and neither confirmed nor reverted. */
    const awaits = (host: string) =>
      explained(
        eventually(
          `the move to ${host} awaits its confirmation`,
          () => journey.shown(),
          ({ status, 'OS-EXT-SRV-ATTR:host': on }) => status === 'VERIFY_RESIZE' && on === host,
        ),
      );
    const rests = (host: string) => explained(journey.restsOn(host));
    const hasOne = () =>
      eventually(
        'the pool has one guest of it, which runs, with its disks',
        () => all.inPool(journey.id),
        ({ vms, disks }) => `${vms} ${disks}` === 'Running config,root',
        20,
      );
    const hasTwo = () =>
      eventually(
        'the pool has two guests of it',
        () => all.inPool(journey.id),
        ({ vms }) => vms.length === 2,
      );

    it('goes cold, and is confirmed', async () => {
      await write('A');
      await journey.act({ migrate: null });
      await awaits(TWO!);
      expect(await all.inPool(journey.id)).toEqual({
        vms: ['Halted', 'Running'],
        disks: ['config', 'config', 'root', 'root'],
      });
      await reads('A');
      await write('B');
      await journey.act({ confirmResize: null });
      await rests(TWO!);
      await hasOne();
      await reads('B');
    }, 120_000);

    it('goes cold to the member that is named, and is reverted', async () => {
      await journey.act({ migrate: { host: ONE } });
      await awaits(ONE!);
      await reads('B');
      await write('C');
      await journey.act({ revertResize: null });
      await rests(TWO!);
      await hasOne();
      await reads('B');
    }, 120_000);

    it('goes where there is room for its new flavor', async () => {
      await journey.act({ resize: { flavorRef: flavors[1] } });
      await awaits(ONE!);
      await reads('B');
      await write('D');
      await journey.act({ revertResize: null });
      await rests(TWO!);
      await reads('B');
      await journey.act({ resize: { flavorRef: flavors[1] } });
      await awaits(ONE!);
      await write('E');
      await journey.act({ confirmResize: null });
      await rests(ONE!);
      await hasOne();
      await reads('E');
      await journey.act({ resize: { flavorRef: flavors[0] } });
      await awaits(TWO!);
      await journey.act({ confirmResize: null });
      await rests(TWO!);
      await reads('E');
    }, 180_000);

    it('goes while it runs, cold, and while it runs again', async () => {
      await journey.migrate();
      await rests(ONE!);
      await write('F');
      await journey.act({ migrate: null });
      await awaits(TWO!);
      await journey.act({ confirmResize: null });
      await rests(TWO!);
      await journey.migrate();
      await rests(ONE!);
      await reads('F');
      await hasOne();
    }, 120_000);

    it.each(['source', 'target'])(
      'arrives although the agent of its %s is killed in the middle',
      async (who) => {
        const from = (await journey.shown())['OS-EXT-SRV-ATTR:host']!;
        const to = from === ONE ? TWO! : ONE!;
        await journey.act({ migrate: null });
        await hasTwo();
        const again = await all.crash(who === 'source' ? from : to);
        await again();
        await awaits(to);
        await reads('F');
        const killed = await all.crash(who === 'source' ? to : from);
        await journey.act(who === 'source' ? { confirmResize: null } : { revertResize: null });
        await killed();
        await rests(who === 'source' ? to : from);
        await hasOne();
        await reads('F');
      },
      180_000,
    );

    it('leaves nothing when it is deleted in the middle', async () => {
      await journey.act({ migrate: null });
      await hasTwo();
      await journey.end();
      await explained(
        eventually(
          'the pool has nothing of it, and nobody a claim',
          async () => ({ ...(await all.inPool(journey.id)), claims: await journey.claims() }),
          ({ vms, disks, claims }) => vms.length + disks.length + claims.length === 0,
        ),
      );
    }, 120_000);
  },
);
