import { gib } from '@omnivisor/contracts';
import { describe, expect } from 'vitest';
import { withoutBytes } from '../../common/test-guest.js';
import { never, refusal, type Stage } from '../stage.js';

export const describeSpawning = (stage: Stage) =>
  describe('spawning', () => {
    const { under } = stage;

    stage.behaviour('spawning', 'leaves the guest running, with its mark and size', async () => {
      const spec = await stage.running();
      const expected = {
        mark: spec.mark,
        stage: 'settled',
        power: 'running',
        memory: spec.flavor.memory,
        vcpus: spec.flavor.vcpus,
      };
      expect(await stage.driver.inspect(spec.id)).toMatchObject(expected);
      expect(await stage.find(spec.id)).toMatchObject(expected);
      await stage.discard(spec.id);
    });

    stage.behaviour('spawning', 'leaves it off when told so, and it can be switched on', async () => {
      const spec = await stage.off();
      expect(await stage.power(spec.id)).toBe('shutdown');
      await stage.driver.powerOn(spec.id, spec.nics);
      expect(await stage.power(spec.id)).toBe('running');
      await stage.discard(spec.id);
    });

    stage.behaviour('spawning', 'makes one guest when asked twice, also at once', async () => {
      const spec = await stage.spec();
      await Promise.all([stage.driver.spawn(spec, never), stage.driver.spawn(spec, never)]);
      await stage.driver.spawn(spec, never);
      const { serverId } = spec.mark;
      expect((await stage.driver.list()).filter((guest) => guest.mark.serverId === serverId)).toHaveLength(1);
      await stage.discard(serverId);
    });

    stage.behaviour('spawning', 'does not start a guest that is off when asked again', async () => {
      const spec = await stage.off();
      await stage.driver.spawn({ ...spec, powerOn: true }, never);
      expect(await stage.power(spec.id)).toBe('shutdown');
      await stage.discard(spec.id);
    });

    stage.behaviour('spawning', 'refuses another attempt or build beside the one that is there', async () => {
      const spec = await stage.running();
      for (const change of [{ attempt: spec.mark.attempt + 1 }, { build: spec.mark.build + 1 }])
        expect(await refusal(stage.driver.spawn({ ...spec, mark: { ...spec.mark, ...change } }, never))).toBe('fault');
      expect((await stage.driver.inspect(spec.id)).mark).toEqual(spec.mark);
      await stage.discard(spec.id);
    });

    stage.behaviour('spawning', 'leaves nothing when it fails halfway', async () => {
      const spec = await under.failing((await stage.spec()).mark.serverId);
      await refusal(stage.driver.spawn(spec, never));
      await stage.leavesNothing(spec.mark.serverId);
    });

    stage.behaviour(
      'spawning',
      'says `unavailable` and leaves nothing when the image cannot be fetched',
      async () => {
        const spec = await stage.spec();
        expect(await refusal(stage.driver.spawn(withoutBytes(spec), never))).toBe('unavailable');
        await stage.leavesNothing(spec.mark.serverId);
      },
      { 'a backend that fetches images': under.backend !== 'fake' },
    );

    stage.behaviour('spawning', 'leaves nothing when it is aborted, at whatever moment', async () => {
      for (const abortAfter of [null, 0, 1, 10, 30, 60, 100]) {
        const spec = await stage.spec();
        const abort = new AbortController();
        if (abortAfter === null) abort.abort();
        const spawned = stage.driver.spawn(spec, abort.signal).then(
          () => 'spawned',
          () => 'aborted',
        );
        if (abortAfter !== null) setTimeout(() => abort.abort(), abortAfter);
        // An abort that comes after the last step comes too late, and the guest is whole.
        if ((await spawned) === 'aborted') await stage.leavesNothing(spec.mark.serverId);
        else expect([abortAfter, await stage.power(spec.mark.serverId)]).toEqual([expect.any(Number), 'running']);
        await stage.discard(spec.mark.serverId);
      }
    });

    stage.behaviour('spawning', 'refuses what the host cannot carry, and leaves nothing', async () => {
      const spec = await under.tooBig((await stage.spec()).mark.serverId);
      expect(await refusal(stage.driver.spawn(spec, never))).toBe('noResources');
      await stage.leavesNothing(spec.mark.serverId);
    });

    stage.behaviour('spawning', 'refuses hardware that it does not have, and leaves nothing', async () => {
      for (const property of ['hw_disk_bus', 'hw_vif_model', 'hw_firmware_type']) {
        const spec = await stage.spec();
        const image = { ...spec.image, properties: { ...spec.image.properties, [property]: 'no-such-thing' } };
        expect([property, await refusal(stage.driver.spawn({ ...spec, image }, never))]).toEqual([
          property,
          'unsupported',
        ]);
        await stage.leavesNothing(spec.mark.serverId);
      }
    });

    stage.behaviour(
      'spawning',
      'refuses an image that does not fit its root disk, and leaves nothing',
      async () => {
        const spec = await stage.spec();
        const root = { source: await under.imageOf!(gib(2)), size: gib(1) };
        await refusal(stage.driver.spawn({ ...spec, disks: { ...spec.disks, root } }, never));
        await stage.leavesNothing(spec.mark.serverId);
      },
      { 'images of any size': under.imageOf },
    );

    stage.behaviour(
      'configDrive',
      'holds the files it was given',
      async () => {
        const configDrive = new Map([
          ['openstack/latest/meta_data.json', Buffer.from('{"hostname":"conformance"}')],
          ['openstack/latest/user_data', Buffer.from('#!/bin/sh\n')],
        ]);
        const spec = await stage.running({ configDrive });
        expect((await under.configDriveFiles!(spec.id)).sort()).toEqual([...configDrive.keys()].sort());
        await stage.discard(spec.id);
      },
      { 'a way to read what the driver has packed': under.configDriveFiles },
    );
  });
