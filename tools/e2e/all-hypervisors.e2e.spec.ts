import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AllHypervisors } from './all-hypervisors.js';
import { Journey } from './journey.js';
import { type ApiServer, eventually, RunningCloud } from './running-cloud.js';
import { type Done, eventsOf, tinyImage, Walk } from './scenario.js';
import { flavorsFor, imageFrom, refusedBy, type Shared, sharedThings, wantedOf } from './scenario-things.js';
import { serial } from './serial.js';

/** Over all of them, and back to where its guest can tell. */
const ROUND = ['hyperv', 'xenserver', 'vsphere', 'qemu'];
/** Steps that a hypervisor does not do: 501, before anything was accepted. */
const UNSUPPORTED: Readonly<Record<string, readonly string[]>> = {
  fake: [],
  qemu: [],
  vsphere: ['pause', 'unpause'],
  xenserver: ['console log'],
  hyperv: [],
};

describe.skipIf(process.getuid?.() !== 0)('a cloud with every hypervisor at once (needs root)', () => {
  let cloud: RunningCloud;
  let all: AllHypervisors;
  let common: Shared;
  const walks = new Map<string, readonly Done[]>();

  beforeAll(async () => {
    cloud = await RunningCloud.start({ bootstrap: false });
    all = await AllHypervisors.start(cloud);
    for (const reason of all.missing) console.log(`not in the scenario: ${reason}`);
    common = await sharedThings(cloud, tinyImage());
  }, 180_000);
  afterAll(async () => {
    await all?.stop();
    await cloud?.stop();
  }, 60_000);

  /** What a guest answers on its serial console. */
  const told = async (id: string, say: string, answer: RegExp) => {
    const { remote_console: opened } = await cloud.admin.post('compute', `/servers/${id}/remote-consoles`, {
      remote_console: { protocol: 'serial', type: 'serial' },
    });
    return serial(opened.url, say, answer);
  };

  it('takes a server through the same steps on each of them', async () => {
    await Promise.all(
      all.hosts.map(async (host) => {
        const walk = new Walk(cloud.admin, host, { ...common, flavors: await flavorsFor(cloud, host, [64, 128]) });
        walks.set(host, walk.done);
        await walk.walk().catch((error) => {
          throw new Error(`${error.message}\n${all.log(host)}`, { cause: error });
        });
      }),
    );
    expect(walks.get('fake')!.length).toBeGreaterThanOrEqual(25);
  }, 170_000);

  it('refuses with 501 what a hypervisor does not do, and that is listed', () => {
    for (const [host, done] of walks) expect([host, refusedBy(done)]).toEqual([host, UNSUPPORTED[host]]);
  });

  it('has the same events in the log, whatever ran the server', () => {
    const fake = walks.get('fake')!;
    for (const [host, done] of walks) expect([host, done]).toEqual([host, wantedOf(fake, UNSUPPORTED[host]!)]);
  });

  it('refuses by its name what a hypervisor does not serve of image and flavor, and leaves nothing there', async () => {
    const { admin } = cloud;
    const flavorWith = async (extraSpecs: object) => {
      const { flavor } = await admin.post('compute', '/flavors', {
        flavor: { name: `asks-for-${Object.keys(extraSpecs)}`, vcpus: 1, ram: 64, disk: 1 },
      });
      await admin.post('compute', `/flavors/${flavor.id}/os-extra_specs`, { extra_specs: extraSpecs });
      return flavor.id as string;
    };
    /** With bytes that no other image has. */
    const imageWith = (properties: object) => {
      const bytes = tinyImage();
      bytes.write(JSON.stringify(properties), bytes.length - 512);
      return imageFrom(cloud, bytes, properties);
    };
    const plain = await flavorWith({ purpose: 'any' });
    // A host that only pretends would do.
    const dedicated = await flavorWith({ 'hw:cpu_policy': 'dedicated', 'trait:CUSTOM_HYPERVISOR_FAKE': 'forbidden' });
    const cases: { image: string; flavor: string; named: string; tried?: boolean }[] = [
      // Placement knows that no hypervisor here serves it.
      { image: common.image, flavor: dedicated, named: 'hw:cpu_policy' },
      {
        ...{ image: await imageWith({ hw_viommu_model: 'intel' }), flavor: plain },
        named: 'hw_viommu_model',
      },
      // Each finds out by itself that it has no such machine.
      {
        ...{ image: await imageWith({ hw_machine_type: 'abacus' }), flavor: plain },
        ...{ named: 'cannot serve hw_machine_type=abacus.', tried: true },
      },
    ];
    const listed = async (...command: string[]) => JSON.parse((await cloud.omnivisor(...command, '--json')).stdout);
    const strangers = (host: string) => listed('adopt', '--host', host);
    const shown = async (id: string) => (await admin.get('compute', `/servers/${id}`)).server as ApiServer;
    const create = async (host: string, image: string, flavor: string) => {
      const { server } = await admin.post('compute', '/servers', {
        server: {
          ...{ name: `unserved-${host}`, imageRef: image, flavorRef: flavor, networks: [{ uuid: common.network }] },
          availability_zone: `nova:${host}`,
        },
      });
      return server.id as string;
    };
    const refuses = async (host: string, { image, flavor, named, tried = false }: (typeof cases)[number]) => {
      const id = await create(host, image, flavor);
      await eventually(
        `the server on ${host} is refused`,
        () => shown(id),
        (now) => now.status === 'ERROR',
      );
      expect([host, (await shown(id)).fault?.message]).toEqual([host, expect.stringContaining(named)]);
      const types = (await eventsOf(admin, id)).map(({ type }) => type);
      expect([host, types.includes('ServerSpawnFailed')]).toEqual([host, tried]);
      expect((await admin.get('placement', `/allocations/${id}`)).allocations).toEqual({});
      await admin.delete('compute', `/servers/${id}`);
    };
    /** A server that runs stays what it is, and runs on. */
    const keepsItsFlavor = async (host: string) => {
      const id = await create(host, common.image, plain);
      const rests = (now: ApiServer) => now.status === 'ACTIVE' && now['OS-EXT-STS:task_state'] === null;
      await eventually(`the server on ${host} runs`, () => shown(id), rests);
      await admin.post('compute', `/servers/${id}/action`, { resize: { flavorRef: dedicated } });
      const refused = async () => (await eventsOf(admin, id)).find(({ data }) => data.fault);
      await eventually(`the resize on ${host} is refused`, refused, (event) => event !== undefined);
      expect([host, JSON.stringify((await refused())?.data.fault)]).toEqual([
        host,
        // Of its own hypervisor, which may serve that and have no such processors.
        expect.stringMatching(/hw:cpu_policy|PCPU \(wanted 1/),
      ]);
      await eventually(`the server on ${host} rests`, () => shown(id), rests);
      const types = (await eventsOf(admin, id)).map(({ type }) => type);
      expect([host, types.filter((type) => /Stopped|PowerChanged/.test(type))]).toEqual([host, []]);
      await admin.delete('compute', `/servers/${id}`);
      await eventually(
        `the server on ${host} is gone`,
        () => shown(id).catch((error: { status: number }) => error.status),
        (now) => now === 404,
      );
    };
    await Promise.all(
      all.hosts
        .filter((host) => host !== 'fake')
        .map(async (host) => {
          const before = await strangers(host);
          const refusals = async () => {
            for (const wanted of cases) await refuses(host, wanted);
            await keepsItsFlavor(host);
          };
          await refusals().catch((error) => {
            throw new Error(`${error.message}\n${all.log(host)}`, { cause: error });
          });
          expect([host, await strangers(host)]).toEqual([host, before]);
        }),
    );
    expect(await listed('host', 'quarantine', 'list')).toEqual([]);
  }, 150_000);

  it('carries a server from one to the next, with what its guest has written', async () => {
    const { admin } = cloud;
    const { flavor } = await admin.post('compute', '/flavors', {
      flavor: { name: 'anywhere', vcpus: 1, ram: 64, disk: 1 },
    });
    const { server } = await admin.post('compute', '/servers', {
      server: {
        ...{ name: 'traveller', imageRef: common.image, flavorRef: flavor.id, networks: [{ uuid: common.network }] },
        availability_zone: 'nova:qemu',
      },
    });
    const shown = async () => (await admin.get('compute', `/servers/${server.id}`)).server as ApiServer;
    await eventually('the guest runs', shown, (now) => now.status === 'ACTIVE');
    expect(await told(server.id, 'w0Q', /\[.\]/)).toContain('[Q]');
    for (const host of ROUND.filter((name) => all.hosts.includes(name))) {
      const { stdout } = await cloud.omnivisor('move', server.id, '--to', host).catch((error) => {
        throw new Error(`${error.message}\n${all.log(host)}`, { cause: error });
      });
      expect(stdout).toContain(`server ${server.id} is on ${host}`);
      expect(await shown()).toMatchObject({ status: 'ACTIVE', 'OS-EXT-SRV-ATTR:host': host });
    }
    expect(await told(server.id, 'r0', /\[.\]/)).toContain('[Q]');
    await admin.delete('compute', `/servers/${server.id}`);
    await eventually(
      'it is gone',
      () => shown().catch((error: { status: number }) => error.status),
      (now) => now === 404,
    );
  }, 170_000);

  describe('and a second host of each kind', () => {
    const journeys: Journey[] = [];
    const moving = () => journeys.filter(({ kind }) => all.isMoving(kind, '') !== undefined);
    const of = (kind: string) => journeys.find((journey) => journey.kind === kind);
    const each = (them: readonly Journey[], way: (journey: Journey) => Promise<unknown>) =>
      Promise.all(
        them.map((journey) =>
          way(journey).catch((error) => {
            const { kind } = journey;
            throw new Error(`${kind}: ${error.message}\n${all.log(kind)}\n---\n${all.log(`${kind}-2`)}`, {
              cause: error,
            });
          }),
        ),
      );
    const refused = async (asked: Promise<unknown>) => {
      const error = (await asked.then(() => null).catch((e: unknown) => e)) as {
        status: number;
        message: string;
      } | null;
      return `${error?.status} ${error?.message}`;
    };

    beforeAll(async () => {
      const kinds = [...all.hosts];
      await all.double();
      const { flavor } = await cloud.admin.post('compute', '/flavors', {
        flavor: { name: 'mover', vcpus: 1, ram: 64, disk: 1 },
      });
      const wanted = { flavor: flavor.id, image: common.image, network: common.network };
      journeys.push(...(await Promise.all(kinds.map((kind) => Journey.begin(cloud.admin, all, kind, wanted)))));
    }, 120_000);

    it('moves running servers between the two, as the same events, with their addresses and one claim', async () => {
      const recorded = new Map<string, readonly string[]>();
      await each(journeys, async (journey) => {
        const { kind } = journey;
        const [ports, claims] = [await journey.ports(), await journey.claims()];
        await journey.news();
        await journey.migrate();
        if (moving().includes(journey))
          expect(await journey.isUnderWay()).toMatchObject([
            { status: 'running', source_compute: kind, dest_compute: `${kind}-2` },
          ]);
        await journey.restsOn(`${kind}-2`);
        expect(await journey.ports()).toEqual(ports.map((port) => ({ ...port, host: `${kind}-2` })));
        expect(await journey.claims()).not.toEqual(claims);
        expect(await journey.newest()).toMatchObject({ status: 'completed', dest_compute: `${kind}-2` });
        recorded.set(kind, await journey.news());
      });
      const onQemu = recorded.get('qemu')!;
      expect(onQemu).toContain('ServerMigrationLanded');
      for (const [kind, events] of recorded) expect([kind, events]).toEqual([kind, onQemu]);
    }, 90_000);

    it('settles a move whose source, or whose target, was killed in the middle', async () => {
      await each(moving(), async (journey) => {
        const { kind } = journey;
        for (const [to, killed] of [
          [kind, `${kind}-2`],
          [`${kind}-2`, `${kind}-2`],
        ] as const) {
          await journey.migrate({ host: to });
          await journey.isUnderWay();
          const again = await all.crash(killed);
          await again();
          await journey.restsOn(to);
          expect([killed, await journey.newest()]).toMatchObject([killed, { status: 'completed' }]);
        }
      });
    }, 120_000);

    it('leaves a server where it is when its move is aborted', async () => {
      await each(moving(), async (journey) => {
        await journey.migrate();
        const [migration] = await journey.isUnderWay();
        await journey.abort(migration!);
        await journey.restsOn(`${journey.kind}-2`);
        expect(await journey.newest()).toMatchObject({ status: 'cancelled' });
      });
    }, 90_000);

    it('says why a server cannot go where it is sent', async () => {
      const [hyperv, vsphere] = [of('hyperv')!, of('vsphere')];
      expect(await refused(hyperv.migrate({ host: 'qemu' }))).toMatch(/^400 .*hypervisor is another one/);
      expect(await refused(hyperv.migrate({ block_migration: false }))).toMatch(
        /^400 .*storage that no other host has/,
      );
      if (!vsphere) return;
      expect(await refused(vsphere.migrate({ block_migration: true }))).toMatch(/^400 .*does not copy disks/);
    });

    it('leaves nothing of them anywhere', async () => {
      await each(journeys, async (journey) => {
        await journey.end();
        const claims = () => journey.claims();
        await eventually('its claims have ended', claims, (left) => left.length === 0);
      });
    }, 60_000);
  });
});
