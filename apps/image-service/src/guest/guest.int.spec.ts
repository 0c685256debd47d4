import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import type { GuestFacts } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { seeded } from '../formats/mutations.js';
import { diskOf } from './disk.js';
import { bootPlan, guestFile, inspectGuest } from './inspect-guest.js';
import { LOOK_BYTES } from './look-task.js';
import { readinessOf } from './readiness.js';

const MIB = 1024 * 1024;
const PATH = `${process.env.PATH}:/usr/sbin:/sbin`;
const has = (tool: string) => spawnSync('sh', ['-c', `command -v ${tool}`], { env: { PATH } }).status === 0;
const complete = ['mke2fs', 'mcopy', 'sfdisk', 'cpio', 'mkfs.vfat'].every(has);
const run = (command: string, args: string[], options: object = {}) =>
  execFileSync(command, args, { env: { ...process.env, PATH }, stdio: ['pipe', 'pipe', 'pipe'], ...options });

const RELEASE = '6.1.0-9-amd64';
const MODULES = ['block/virtio_blk.ko', 'net/virtio_net.ko.xz', 'scsi/hv_storvsc.ko', 'hv/hv_vmbus.ko.zst'];

/** The first sectors of a kernel for PCs, as its boot protocol lays them out. */
const bzImage = (): Buffer => {
  const b = Buffer.alloc(8192);
  b.write('HdrS', 0x202, 'latin1');
  b.writeUInt16LE(0x3000 - 0x200 - 0x2000, 0x20e);
  b.write(`${RELEASE} (debian-kernel@lists.debian.org) #1 SMP\0`, 0x1000, 'latin1');
  b.writeUInt16LE(0xaa55, 510);
  return b;
};

describe.skipIf(!complete)('a look at a guest', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'guest-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const at = (...parts: string[]) => join(folder, ...parts);
  const put = (root: string, path: string, bytes: Buffer | string) => {
    mkdirSync(dirname(at(root, path)), { recursive: true });
    writeFileSync(at(root, path), bytes);
  };

  const cpio = (tree: string): Buffer =>
    run('sh', ['-c', 'find . | LC_ALL=C sort | cpio --quiet -o -H newc'], { cwd: at(tree), maxBuffer: 64 * MIB });
  /** An initial RAM disk: microcode in an archive of its own, then the packed rest. */
  const initramfs = (packer: string[] | null): Buffer => {
    if (!existsSync(at('early'))) {
      put('early', 'kernel/x86/microcode/GenuineIntel.bin', Buffer.alloc(3000, 7));
      for (const module of MODULES)
        put('late', `usr/lib/modules/${RELEASE}/kernel/drivers/${module}`, Buffer.alloc(999, 'm'));
      put('late', `usr/lib/modules/${RELEASE}/modules.builtin`, 'kernel/drivers/virtio/virtio-pci.ko\n');
      put('late', 'bin/busybox', Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919) % 251)));
    }
    const late = cpio('late');
    const packed = packer ? run(packer[0]!, packer.slice(1), { input: late, maxBuffer: 64 * MIB }) : gzipSync(late);
    return Buffer.concat([cpio('early'), Buffer.alloc(512), packed]);
  };
  const fillRoot = (root: string, ramDisk: Buffer, kernel: Buffer = bzImage()) => {
    rmSync(at(root), { recursive: true, force: true });
    put(root, 'usr/lib/os-release', 'NAME="Debian"\nID=debian\nVERSION_ID="12"\n');
    put(root, `boot/vmlinuz-${RELEASE}`, kernel);
    put(root, 'boot/vmlinuz-6.1.0-10-rescue', 'x');
    put(root, `boot/initrd.img-${RELEASE}`, ramDisk);
    put(root, `boot/config-${RELEASE}`, 'CONFIG_ATA_PIIX=y\nCONFIG_BLK_DEV_NVME=m\n');
    put(
      root,
      `usr/lib/modules/${RELEASE}/modules.dep`,
      'kernel/drivers/scsi/vmw_pvscsi.ko: \nkernel/drivers/net/vmxnet3/vmxnet3.ko:\n',
    );
    put(root, 'usr/sbin/qemu-ga', 'x');
    put(root, 'etc/hostname', 'guest\n');
    symlinkSync('../usr/lib/os-release', at(root, 'etc/os-release'));
    symlinkSync('usr/lib', at(root, 'lib'));
    symlinkSync(`boot/vmlinuz-${RELEASE}`, at(root, 'vmlinuz'));
  };
  const ext = (root: string, ...options: string[]): Buffer => {
    writeFileSync(at('fs'), '');
    run('truncate', ['-s', '16M', at('fs')]);
    run('mke2fs', ['-q', '-F', '-d', at(root), ...options, at('fs')]);
    return readFileSync(at('fs'));
  };
  const partitioned = (label: 'gpt' | 'dos', ...parts: (readonly [type: string, bytes: Buffer])[]): Buffer => {
    const disk = Buffer.alloc(parts.reduce((sum, [, b]) => sum + b.length, 2 * MIB));
    writeFileSync(at('disk'), disk);
    const lines = parts.map(([type, bytes]) => `size=${bytes.length / 512},type=${type}`);
    run('sfdisk', ['-q', at('disk')], { input: `label: ${label}\n${lines.join('\n')}\n` });
    const whole = readFileSync(at('disk'));
    let offset = MIB;
    for (const [, bytes] of parts) {
      bytes.copy(whole, offset);
      offset += bytes.length;
    }
    return whole;
  };
  const look = (bytes: Buffer): Promise<GuestFacts> => inspectGuest(diskOf(bytes));

  /** For disks that are large and mostly holes. */
  const lookAt = async (path: string, changes = new Map<number, number>()): Promise<GuestFacts> => {
    const file = await open(path);
    try {
      return await inspectGuest({
        size: (await file.stat()).size,
        read: async (offset, length) => {
          const { buffer } = await file.read(Buffer.alloc(length), 0, length, offset);
          for (const [at, byte] of changes) if (at >= offset && at < offset + length) buffer[at - offset] = byte;
          return buffer;
        },
      });
    } finally {
      await file.close();
    }
  };

  const BOOT = ['ata_piix', 'hv_storvsc', 'hv_vmbus', 'virtio_blk', 'virtio_net', 'virtio_pci'];
  const whole = {
    ...{ distribution: { id: 'debian', version: '12' }, kernel: { release: RELEASE, boot: 'any' } },
    ...{ bootDrivers: BOOT, otherDrivers: ['vmw_pvscsi', 'vmxnet3'], agents: ['qemu-guest-agent'], unknown: null },
  };

  it('does not know what is in an initial RAM disk that is not where it is looked for', async () => {
    fillRoot('root', initramfs(null));
    renameSync(at('root', `boot/initrd.img-${RELEASE}`), at('root', 'boot/other.gz'));
    expect(await look(partitioned('gpt', ['linux', ext('root')]))).toMatchObject({
      ...{ kernel: whole.kernel, bootDrivers: [], unknown: 'its initial RAM disk was not found' },
    });
  });

  it.each<[string, string[] | null, string]>([
    ['gzip', null, 'gzip'],
    ['zstd', ['zstd', '-q', '-19'], 'zstd'],
    ['xz', ['xz', '--check=crc32'], 'xz'],
    ['lz4', ['lz4', '-l', '-q'], 'lz4'],
    ['nothing', ['cat'], 'cat'],
  ])('finds the drivers in an initial RAM disk packed by %s', async (_, packer, tool) => {
    if (!has(tool)) return;
    fillRoot('root', initramfs(packer));
    expect(await look(ext('root', '-t', 'ext4'))).toEqual({
      ...whole,
      ...{ partitions: 'none', firmware: [], fileSystems: ['ext4'] },
    });
  });

  it.each([
    ['ext2 with small blocks', ['-t', 'ext2', '-b', '1024']],
    ['ext3', ['-t', 'ext3']],
    ['ext4 with large blocks and no 64 bit', ['-t', 'ext4', '-b', '4096', '-O', '^64bit']],
    ['ext4 without extents', ['-t', 'ext4', '-b', '1024', '-O', '^extents,^64bit']],
  ])('reads %s', async (name, options) => {
    fillRoot('root', initramfs(null));
    expect(await look(ext('root', ...options))).toMatchObject({ ...whole, fileSystems: [name.slice(0, 4)] });
  });

  it.skipIf(!has('mkfs.xfs'))(
    'reads XFS, also in a partition of its own for /boot',
    async () => {
      fillRoot('root', initramfs(null));
      const proto = (base: string, path: string): string =>
        run('find', [at(base, path), '-maxdepth', '1', '-mindepth', '1', '-printf', '%y %f %l\n'])
          .toString()
          .trim()
          .split('\n')
          .filter((l) => l !== '')
          .map((line) => {
            const [kind, name, target] = line.split(' ') as [string, string, string];
            if (kind === 'd') return `${name} d--755 0 0\n${proto(base, `${path}/${name}`)}$`;
            if (kind === 'l') return `${name} l--777 0 0 ${target}`;
            return `${name} ---644 0 0 ${at(base, path, name)}`;
          })
          .concat('')
          .join('\n');
      const xfs = (base: string): string => {
        writeFileSync(at('proto'), `/\n0 0\nd--755 0 0\n${proto(base, '')}$\n`);
        const path = at(`${base}.xfs`);
        rmSync(path, { force: true });
        run('truncate', ['-s', '300M', path]);
        run('mkfs.xfs', ['-q', '-p', at('proto'), path]);
        return path;
      };
      for (let i = 0; i < 400; i++) put('root', `usr/share/many/a-file-with-a-long-name-${i}`, '');
      expect(await lookAt(xfs('root'))).toMatchObject({ ...whole, fileSystems: ['xfs'] });
      cpSync(at('root', 'boot'), at('boot'), { recursive: true });
      rmSync(at('root', 'boot'), { recursive: true });
      run('truncate', ['-s', '602M', at('disk')]);
      run('sfdisk', ['-q', at('disk')], { input: 'label: gpt\nsize=300M\nsize=300M\n' });
      for (const [i, part] of [xfs('boot'), xfs('root')].entries())
        run('dd', [`if=${part}`, `of=${at('disk')}`, 'bs=1M', `seek=${1 + i * 300}`, 'conv=notrunc,sparse']);
      const random = seeded(8);
      const head = run('head', ['-c', String(2 * MIB), at('root.xfs')], { maxBuffer: 4 * MIB });
      const used = [...head.keys()].filter((i) => head[i] !== 0);
      for (let round = 0; round < 30; round++) {
        const changes = new Map(
          Array.from({ length: 1 + random(30) }, () => [used[random(used.length)]!, random(256)]),
        );
        readinessOf(await lookAt(at('root.xfs'), changes));
      }
      const both = await lookAt(at('disk'));
      expect(both).toMatchObject({ ...whole, fileSystems: ['xfs', 'xfs'], partitions: 'gpt' });
      rmSync(at('disk'));
    },
    60_000,
  );

  describe('with a file system for /boot, as RHEL has it,', () => {
    const NEWER = RELEASE.replace('9', '10');
    /** Two kernels, their rescue and crash dumps; GRUB starts the older one. */
    const fillBoot = (): Buffer => {
      const id = 'd2f1a7d3c5b94a2e8f60718293a4b5c6';
      rmSync(at('boot'), { recursive: true, force: true });
      for (const [release, ramDisk] of [
        [RELEASE, initramfs(null)],
        [`0-rescue-${id}`, Buffer.from('x')],
        [NEWER, gzipSync(Buffer.from('x'))],
      ] as const) {
        put('boot', `vmlinuz-${release}`, bzImage());
        put('boot', `initramfs-${release}.img`, ramDisk);
        put('boot', `initramfs-${release}kdump.img`, 'x');
        put('boot', `config-${release}`, 'CONFIG_ATA_PIIX=y\n');
        put('boot', `loader/entries/${id}-${release}.conf`, `linux /vmlinuz-${release}\n`);
      }
      put('boot', 'grub2/grub.cfg', `set default="\${saved_entry}"\n`);
      put('boot', 'grub2/grubenv', `# GRUB Environment Block\nsaved_entry=${id}-${RELEASE}\nboot_success=0\n####`);
      return ext('boot', '-t', 'ext4');
    };

    it('is looked at as that kernel starts of which GRUB keeps that it is the default', async () => {
      fillRoot('root', initramfs(null));
      rmSync(at('root', 'boot'), { recursive: true });
      rmSync(at('root', 'vmlinuz'));
      put('root', 'boot/efi', '');
      const disk = partitioned('gpt', ['L', fillBoot()], ['L', ext('root', '-t', 'ext4')]);
      expect(await look(disk)).toMatchObject({ ...whole, fileSystems: ['ext4', 'ext4'] });
      const { kernel: _, initramfs: __, ...plan } = await bootPlan(diskOf(disk));
      expect(plan).toEqual({
        ...{ initramfsPath: `/boot/initramfs-${RELEASE}.img`, release: RELEASE },
        ...{ root: { kind: 'ext4', partition: 2 }, bootPartition: { kind: 'ext4', partition: 1 } },
      });
    });

    it.each([
      ['LVM', Buffer.concat([Buffer.alloc(512), Buffer.from('LABELONE')]), /in LVM, which is not read/],
      ['an encrypted partition', Buffer.from('LUKS\xba\xbe', 'latin1'), /is encrypted/],
      ['btrfs', Buffer.concat([Buffer.alloc(65_600), Buffer.from('_BHRfS_M')]), /is btrfs, which is not read/],
      ['nothing that is known', Buffer.from('?'), /its root file system was not found/],
    ])('has drivers that are known, and says why not more are, when its root is in %s', async (_, magic, why) => {
      const root = Buffer.concat([magic], 2 * MIB);
      const disk = partitioned('gpt', ['L', fillBoot()], ['L', root]);
      const guest = await look(disk);
      expect(guest).toMatchObject({ bootDrivers: BOOT, otherDrivers: [], unknown: expect.stringMatching(why) });
      const { qemu, vsphere } = readinessOf(guest);
      expect([qemu?.verdict, vsphere]).toEqual(['boots', undefined]);
      await expect(bootPlan(diskOf(disk))).rejects.toThrow(why);
    });

    it('has no tools to make a RAM disk where /usr is a file system of its own', async () => {
      fillRoot('root', initramfs(null));
      const root = ext('root/etc', '-t', 'ext4');
      const disk = partitioned('gpt', ['L', fillBoot()], ['L', root], ['L', ext('root/usr', '-t', 'ext4')]);
      expect(await look(disk)).toMatchObject({ bootDrivers: BOOT, otherDrivers: whole.otherDrivers });
      await expect(bootPlan(diskOf(disk))).rejects.toThrow(/its \/usr is a file system of its own/);
    });
  });

  it('tells GPT, EFI loaders and their signatures from a boot sector', async () => {
    const loader = (signed: boolean): Buffer => {
      const b = Buffer.alloc(4096);
      b.write('MZ', 0, 'latin1');
      b.writeUInt32LE(0x80, 0x3c);
      b.write('PE\0\0', 0x80, 'latin1');
      b.writeUInt16LE(0x20b, 0x98);
      b.writeUInt32LE(signed ? 1234 : 0, 0x98 + 112 + 36);
      return b;
    };
    const esp = (signed: boolean): Buffer => {
      rmSync(at('esp'), { force: true });
      run('truncate', ['-s', '36M', at('esp')]);
      run('mkfs.vfat', ['-F32', '-s1', at('esp')]);
      writeFileSync(at('loader'), loader(signed));
      run('mmd', ['-i', at('esp'), '::/EFI', '::/EFI/BOOT']);
      run('mcopy', ['-i', at('esp'), at('loader'), '::/EFI/BOOT/BOOTX64.EFI']);
      return readFileSync(at('esp'));
    };
    fillRoot('root', initramfs(null));
    const root = ext('root', '-t', 'ext4');
    expect(await look(partitioned('gpt', ['U', esp(true)], ['L', root]))).toMatchObject({
      ...{ ...whole, partitions: 'gpt', firmware: ['uefi', 'secure-boot'], fileSystems: ['vfat', 'ext4'] },
    });
    const bios = partitioned('dos', ['ef', esp(false)], ['83', root]);
    bios.fill(0x90, 0, 100);
    expect(await look(bios)).toMatchObject({ ...whole, partitions: 'mbr', firmware: ['bios', 'uefi'] });
  });

  it('reads FAT16 with long names, and a kernel and RAM disk without release in theirs', async () => {
    rmSync(at('fat'), { force: true });
    run('truncate', ['-s', '20M', at('fat')]);
    run('mkfs.vfat', ['-F16', at('fat')]);
    writeFileSync(at('k'), bzImage());
    writeFileSync(at('i'), initramfs(null));
    run('mcopy', ['-i', at('fat'), at('k'), '::/vmlinuz']);
    run('mcopy', ['-i', at('fat'), at('i'), '::/initrd.img']);
    run('mcopy', ['-i', at('fat'), at('k'), '::/a rather long name that is not 8.3']);
    expect(await look(readFileSync(at('fat')))).toMatchObject({
      ...{ fileSystems: ['vfat'], kernel: whole.kernel, unknown: 'its root file system was not found' },
      bootDrivers: BOOT.filter((d) => d !== 'ata_piix'),
    });
  });

  it('knows a kernel that starts on Xen only', async () => {
    const elf = Buffer.concat([Buffer.from('\x7fELF'), Buffer.alloc(100_000, 3)]);
    for (const kernel of [elf, gzipSync(elf)]) {
      fillRoot('root', initramfs(null), kernel);
      const guest = await look(ext('root', '-t', 'ext4'));
      expect(guest.kernel).toEqual({ release: RELEASE, boot: 'xen' });
      expect(readinessOf(guest).hyperv?.verdict).toBe('cannot');
    }
  });
  it('takes a kernel that starts anywhere for the one that is started, whatever lies beside it', async () => {
    const elf = Buffer.concat([Buffer.from('\x7fELF'), Buffer.alloc(100_000, 3)]);
    for (const beside of [`vmlinux-${RELEASE}`, 'vmlinux-6.1.0-10-xen']) {
      fillRoot('root', initramfs(null));
      put('root', `boot/${beside}`, elf);
      put('root', `boot/${beside.replace('vmlinux', 'initrd.img')}`, initramfs(null));
      const guest = await look(ext('root', '-t', 'ext4'));
      expect(guest.kernel).toEqual({ release: RELEASE, boot: 'any' });
      expect(readinessOf(guest).qemu?.verdict).toBe('boots');
      const kernel = await guestFile(diskOf(ext('root', '-t', 'ext4')), 'aki');
      expect((await buffer(kernel)).equals(bzImage())).toBe(true);
    }
  });

  it('gives out the kernel and the RAM disk as they are', async () => {
    const ramDisk = initramfs(null);
    fillRoot('root', ramDisk);
    const disk = diskOf(ext('root', '-t', 'ext4'));
    const collect = async (what: 'aki' | 'ari') => {
      const parts: Buffer[] = [];
      for await (const part of await guestFile(disk, what)) parts.push(part);
      return Buffer.concat(parts);
    };
    expect((await collect('aki')).equals(bzImage())).toBe(true);
    expect((await collect('ari')).equals(ramDisk)).toBe(true);
    await expect(guestFile(diskOf(Buffer.alloc(MIB)), 'aki')).rejects.toThrow(/no kernel/);
  });

  it.each(['aki', 'ari'] as const)('gives out no %s that is larger than what is read of a disk', async (what) => {
    fillRoot('root', initramfs(null));
    const name = what === 'aki' ? `vmlinuz-${RELEASE}` : `initrd.img-${RELEASE}`;
    truncateSync(at('root', 'boot', name), LOOK_BYTES + 1);
    const disk = diskOf(ext('root', '-t', 'ext4'));
    await expect(guestFile(disk, what)).rejects.toThrow(/too large/);
    await expect(bootPlan(disk)).rejects.toThrow(/too large/);
  });

  it.each([
    ['nothing', Buffer.alloc(0), /no kernel/],
    ['zeros', Buffer.alloc(MIB), /no kernel/],
    ['LVM', Buffer.concat([Buffer.alloc(512), Buffer.from('LABELONE'), Buffer.alloc(MIB)]), /LVM/],
    ['an encrypted disk', Buffer.concat([Buffer.from('LUKS\xba\xbe', 'latin1'), Buffer.alloc(MIB)]), /encrypted/],
    [
      'NTFS that is damaged',
      Buffer.concat([Buffer.from('\xeb\x52\x90NTFS    ', 'latin1'), Buffer.alloc(MIB)]),
      /NTFS.*damaged/,
    ],
    ['BitLocker', Buffer.concat([Buffer.from('\xeb\x58\x90-FVE-FS-', 'latin1'), Buffer.alloc(MIB)]), /encrypted/],
  ])('says why it knows nothing of %s', async (_, bytes, why) => {
    const guest = await look(bytes);
    expect(guest.unknown).toMatch(why);
    expect(readinessOf(guest)).toEqual({});
  });

  it('comes to an end on any disk that somebody tampered with, and foresees every error', async () => {
    fillRoot('root', initramfs(has('zstd') ? ['zstd', '-q'] : null));
    const images = [
      ext('root', '-t', 'ext4'),
      ext('root', '-t', 'ext2', '-b', '1024'),
      partitioned('gpt', ['L', ext('root', '-t', 'ext4')]),
      readFileSync(at('fat')),
    ];
    const rounds = Number(process.env.OMNIVISOR_FUZZ_ROUNDS ?? 40);
    const random = seeded(5);
    const seen = new Set<string>();
    for (let round = 0; round < rounds; round++) {
      const bytes = Buffer.from(images[round % images.length]!);
      // Where bytes are, that is: file systems are mostly empty.
      for (let left = 1 + random(40); left > 0; left--) {
        let to = random(3) === 0 ? random(MIB) : random(bytes.length);
        for (let tries = 0; tries < 1000 && bytes[to] === 0; tries++) to = random(bytes.length);
        bytes[to] = random(2) ? random(256) : 255;
      }
      const guest = await look(bytes);
      seen.add(guest.unknown ?? 'whole');
      readinessOf(guest);
      expect(JSON.stringify(guest).length).toBeLessThan(4_096);
    }
    expect(seen.size).toBeGreaterThan(2);
  }, 60_000);
});
