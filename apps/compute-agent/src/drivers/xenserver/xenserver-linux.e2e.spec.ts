import { gib, mib, type ServerId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe } from 'vitest';
import { type OneImage, startOneImage } from '../../../../../tools/image/one-image.js';
import { which } from '../../../../../tools/services/process.mjs';
import { fileSource } from '../common/test-guest.js';
import { describeLinux } from '../conformance/areas/linux.js';
import type { DriverUnderTest } from '../conformance/driver-under-test.js';
import { Results } from '../conformance/results.js';
import { Stage } from '../conformance/stage.js';
import type { GuestSpec } from '../hypervisor-driver.js';
import { PoolUnderTest } from './testing/pool-under-test.js';
import { SerialLine } from './testing/serial-line.js';

describe.runIf(process.getuid?.() === 0 && which('qemu-system-x86_64'))('Linux guests of a pool', async () => {
  const pool = await PoolUnderTest.start({ guests: 'qemu', shutdownPatience: 60_000 }, 'paravirtual');
  const line = new SerialLine(pool);
  const booted = /Cloud-init v\. .* finished:.*/;
  let one: OneImage;
  let vhd: string;
  let marks = 0;

  const spec = async (id: ServerId): Promise<GuestSpec> => {
    const small = pool.guest(id);
    const metadata = { uuid: id, hostname: 'conformance', name: 'conformance' };
    const script =
      '#!/bin/sh\nswapon /dev/vdc\necho "ephemeral on $(findfs LABEL=ephemeral0), swap on $(tail -1 /proc/swaps)"\n';
    return {
      ...small,
      flavor: { ...small.flavor, memory: mib(128) },
      disks: {
        root: { source: fileSource(vhd, 'vhd'), size: gib(1) },
        ephemeral: { size: gib(1), source: null },
        swap: mib(16),
      },
      configDrive: new Map([
        ['openstack/latest/meta_data.json', Buffer.from(JSON.stringify(metadata))],
        ['openstack/latest/user_data', Buffer.from(script)],
      ]),
    };
  };
  const under: DriverUnderTest = {
    ...pool.underTest(['suspending', 'nics', 'disks']),
    patience: 120_000,
    linux: {
      spec,
      up: async (id: ServerId) => {
        await line.says(id, booted, 120_000);
        await line.says(id, /disk vda 1073741824 bytes/);
        await line.says(id, /ephemeral on \/dev\/vdb, swap on \/dev\/vdc .*16380/);
        await line.says(id, /~ # /);
        await line.ask(id, "stty -echo; PS1=''; echo set$((1))\r", /set1/);
      },
      run: async (id: ServerId, command: string) => {
        const mark = ++marks;
        const [, text] = await line.ask(id, `${command}; echo ended-$((${mark}))\r`, new RegExp(`([^]*)ended-${mark}`));
        return text!;
      },
    },
  };
  const stage = new Stage(under, new Results(under));

  beforeAll(async () => {
    one = await startOneImage();
    vhd = await one.file('vhd');
    await stage.open();
  }, 300_000);
  afterAll(async () => {
    await stage.close();
    await pool.stop();
    await one?.stop();
  });

  describeLinux(stage);
});
