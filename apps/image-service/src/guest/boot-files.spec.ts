import { describe, expect, it } from 'vitest';
import { findBootFiles } from './boot-files.js';
import { diskOf } from './disk.js';
import { FileTree, type Node, type Volume } from './fs/volume.js';
import { readPartitions } from './partitions.js';

const root: Node = { id: 1, kind: 'folder', size: 0 };
const kernel = Buffer.alloc(0x300);
kernel.write('HdrS', 0x202, 'latin1');

/** A tree of these files. */
const treeOf = (files: Readonly<Record<string, Buffer | string>>): FileTree => {
  const paths = Object.keys(files);
  const below = (folder: Node & { path?: string }, name: string) => `${folder.path ?? ''}/${name}`;
  return new FileTree({
    ...{ kind: 'ext2', root },
    lookup: async (folder, name) => {
      const path = below(folder, name);
      const kind = path in files ? 'file' : paths.some((p) => p.startsWith(`${path}/`)) ? 'folder' : undefined;
      return (
        kind && { path, kind, id: 10 + paths.findIndex((p) => p.startsWith(path)), size: files[path]?.length ?? 0 }
      );
    },
    names: async (folder) => {
      const start = below(folder, '');
      return [...new Set(paths.flatMap((p) => (p.startsWith(start) ? [p.slice(start.length).split('/')[0]!] : [])))];
    },
    target: async () => '.',
    bytes: async function* (node: Node & { path?: string }) {
      yield Buffer.from(files[node.path!]!);
    },
  });
};

/** A folder of kernels to which its own /boot is a link; `asked` counts the lists of its names. */
const kernels = (names: readonly string[], asked = { lists: 0, files: 0 }): { tree: FileTree; asked: typeof asked } => {
  const volume: Volume = {
    ...{ kind: 'ext2', root },
    lookup: async (_, name) =>
      name === 'boot' ? { id: 2, kind: 'link', size: 1 } : { id: 3, kind: 'file', size: kernel.length },
    names: async () => {
      asked.lists++;
      return [...names];
    },
    target: async () => '.',
    bytes: async function* () {
      asked.files++;
      yield Buffer.alloc(64);
    },
  };
  return { tree: new FileTree(volume), asked };
};

describe('the kernels of a disk', () => {
  it('are listed once where /boot is the same folder', async () => {
    const { tree, asked } = kernels(['vmlinuz-6.9', 'vmlinuz-6.10', 'initrd.img-6.9', 'initrd.img-6.10']);
    expect(await findBootFiles([tree])).toMatchObject({
      ...{ kernel: '/boot/vmlinuz-6.10', initramfs: '/boot/initrd.img-6.10', release: '6.10' },
    });
    expect(asked.lists).toBe(1);
  });
  it.each(['initramfs-virt', 'initramfs-virt.img', 'initrd.img-virt', 'initrd-virt', 'initrd-virt.img'])(
    'have their initial RAM disk in %s',
    async (name) => {
      const { tree } = kernels(['vmlinuz-virt', name]);
      expect(await findBootFiles([tree])).toMatchObject({ initramfs: `/boot/${name}` });
    },
  );
  describe('are started as GRUB keeps it', () => {
    const CFG = `set default="\${saved_entry}"\n`;
    const [OLD, NEW, DEBUG] = ['5.14.0-9.el9.x86_64', '5.14.0-70.el9.x86_64', '5.14.0-9.el9.x86_64+debug'];
    const boot = Object.fromEntries(
      [OLD, NEW, DEBUG, '0-rescue-1234'].flatMap((r) => [
        [`/vmlinuz-${r}`, kernel],
        [`/initramfs-${r}.img`, 'x'],
      ]),
    );
    const started = async (...trees: Record<string, Buffer | string>[]) =>
      (await findBootFiles(trees.map(treeOf)))?.release;
    it.each([
      ['an older one', `saved_entry=1234-${OLD}\n`, OLD],
      ['one whose release begins like that of another', `saved_entry=1234-${DEBUG}\n`, DEBUG],
      ['one by the title of its entry', `x=1\nsaved_entry=Rocky Linux (${OLD}) 9\n`, OLD],
      ['the rescue of the newest', 'saved_entry=1234-0-rescue\n', NEW],
      ['the first', 'saved_entry=0\n', NEW],
      ['none', 'kernelopts=x\nsaved_entry=\n', NEW],
    ])('when that is %s', async (_, grubenv, release) => {
      expect(await started({ ...boot, '/grub2/grub.cfg': CFG, '/grub2/grubenv': grubenv })).toBe(release);
    });
    it.each([
      ['is not to start it', { '/grub2/grub.cfg': 'set default="0"\n' }],
      ['is not found', {}],
    ])('and not when GRUB %s', async (_, config) => {
      expect(await started({ ...boot, ...config, '/grub2/grubenv': `saved_entry=1234-${OLD}\n` })).toBe(NEW);
    });
    it('beside its EFI loader', async () => {
      const esp = {
        ...{ '/EFI/BOOT/BOOTX64.EFI': 'x', '/EFI/rocky/grub.cfg': CFG },
        '/EFI/rocky/grubenv': `saved_entry=1234-${OLD}\n`,
      };
      expect(await started(esp, boot)).toBe(OLD);
      expect(
        await started(esp, { ...boot, '/grub2/grub.cfg': CFG, '/grub2/grubenv': `saved_entry=1234-${DEBUG}\n` }),
      ).toBe(DEBUG);
    });
  });
  it('cost no more than a look at each name, and a few are looked into', async () => {
    const { tree, asked } = kernels(Array.from({ length: 20_000 }, (_, i) => `vmlinuz-${(i * 7_919) % 20_000}`));
    const before = process.cpuUsage();
    await findBootFiles(Array<FileTree>(2).fill(tree));
    expect(process.cpuUsage(before).user / 1_000).toBeLessThan(1_500);
    expect(asked.files).toBe(32);
  });
});

describe('partitions', () => {
  const gpt = (...places: (readonly [first: number, last: number])[]): Buffer => {
    const disk = Buffer.alloc(1024 * 1024);
    disk[446 + 4] = 0xee;
    disk.writeUInt16LE(0xaa55, 510);
    disk.write('EFI PART', 512, 'latin1');
    disk.writeBigUInt64LE(2n, 512 + 72);
    disk.writeUInt32LE(places.length, 512 + 80);
    disk.writeUInt32LE(128, 512 + 84);
    for (const [i, [first, last]] of places.entries()) {
      disk.fill(1, 1024 + i * 128, 1024 + i * 128 + 16);
      disk.writeBigUInt64LE(BigInt(first), 1024 + i * 128 + 32);
      disk.writeBigUInt64LE(BigInt(last), 1024 + i * 128 + 40);
    }
    return disk;
  };
  it('lie one behind the other, in any order', async () => {
    const { partitions } = await readPartitions(diskOf(gpt([1_000, 1_999], [100, 999], [2_000, 2_047])));
    expect(partitions.map((p) => p.number)).toEqual([1, 2, 3]);
  });
  it.each<[string, Parameters<typeof gpt>]>([
    [
      'lie in the same place',
      [
        [100, 999],
        [1_000, 1_999],
        [100, 999],
      ],
    ],
    [
      'share a sector',
      [
        [100, 1_000],
        [1_000, 1_999],
      ],
    ],
    [
      'lie one in the other',
      [
        [100, 1_999],
        [200, 300],
      ],
    ],
  ])('are refused where two of them %s', async (_, places) => {
    await expect(readPartitions(diskOf(gpt(...places)))).rejects.toThrow(/overlap/);
  });
});
