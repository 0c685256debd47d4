import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ImageInspector, type Inspection } from './inspector.js';
import * as vectors from './vectors.js';

const inspect = (bytes: Buffer, disk: string, container = 'bare', step = 64 * 1024): Inspection => {
  const inspector = new ImageInspector(disk, container);
  for (let at = 0; at < bytes.length; at += step) {
    const refusal = inspector.feed(bytes.subarray(at, at + step));
    if (refusal !== null) return { ...inspector.end(), refusal };
  }
  return inspector.end();
};
const over = (front: Buffer, back: Buffer): Buffer => {
  const b = Buffer.alloc(Math.max(front.length, back.length));
  back.copy(b);
  front.copy(b);
  return b;
};
const MIB = 1024 * 1024;

describe('an image that is what it says it is', () => {
  const zeros = Buffer.alloc(MIB + 5);
  const cases: [string, string, Buffer, number | null][] = [
    ['raw', 'raw', zeros, zeros.length],
    ['a raw disk with a label', 'raw', vectors.labelledImage(), MIB],
    ['nothing at all, called raw', 'raw', Buffer.alloc(0), 0],
    ['the first bytes of a qcow2, called raw', 'raw', vectors.qcow2Image().subarray(0, 100), 100],
    ['a fixed VHD, called raw', 'raw', vectors.fixedVhd(), MIB + 512],
    ['a fixed VHD', 'vhd', vectors.fixedVhd(), MIB],
    ['a dynamic VHD', 'vhd', vectors.dynamicVhd(), 10 * MIB],
    ['qcow2 version 3', 'qcow2', vectors.qcow2Image(), 10 * MIB],
    ['qcow2 version 2', 'qcow2', vectors.qcow2Image({ version: 2 }), 10 * MIB],
    ['qcow2 with zstd, dirty', 'qcow2', vectors.qcow2Image({ features: 0b1001n }), 10 * MIB],
    ['a qcow2 of 100 TiB', 'qcow2', vectors.qcow2Image({ size: 100n << 40n }), 100 * 2 ** 40],
    ['VMDK monolithicSparse', 'vmdk', vectors.vmdkImage(), 10 * MIB],
    ['VMDK streamOptimized', 'vmdk', vectors.vmdkImage({ footer: 'good' }), 10 * MIB],
    ['VHDX', 'vhdx', vectors.vhdxImage(), 10 * MIB],
    ['VDI', 'vdi', vectors.vdiImage(), 10 * MIB],
    ['ISO', 'iso', vectors.isoImage(), 64 * 1024],
    ['an ISO that boots as a disk', 'iso', over(vectors.labelledImage().subarray(0, 512), vectors.isoImage()), 65536],
    ['a kernel', 'aki', vectors.labelledImage(), MIB],
    ['a machine image', 'ami', zeros, zeros.length],
    ['a raw file system of FAT', 'raw', vectors.fatImage(), MIB],
  ];
  it.each(cases)('%s as %s is accepted', (_, disk, bytes, virtualSize) => {
    for (const step of [1 << 30, 64 * 1024, 511])
      expect(inspect(bytes, disk, 'bare', step)).toMatchObject({ refusal: null, virtualSize });
  });
});

describe('OSSA-2023-002 OSSA-2024-001 OSSA-2024-002 an image that is refused', () => {
  const cases: [string, string, Buffer, RegExp][] = [
    ['a qcow2 called raw', 'raw', vectors.qcow2Image(), /raw does not match stream data qcow2/],
    ['a VMDK called raw', 'raw', vectors.vmdkImage(), /does not match stream data vmdk/],
    ['an ISO called raw', 'raw', vectors.isoImage(), /does not match stream data iso/],
    ['raw called qcow2', 'qcow2', Buffer.alloc(MIB), /qcow2 does not match stream data raw/],
    ['a cut off qcow2', 'qcow2', vectors.qcow2Image().subarray(0, 100), /does not match stream data raw/],
    ['nothing called qcow2', 'qcow2', Buffer.alloc(0), /does not match/],
    ['raw called vhd', 'vhd', Buffer.alloc(2 * MIB), /does not match/],
    ['a qcow2 called ami', 'ami', vectors.qcow2Image(), /does not match/],
    ['a qcow2 with a backing file', 'qcow2', vectors.qcow2Image({ backing: '/etc/hostname' }), /backing file/],
    ['a qcow2 version 2 with one', 'qcow2', vectors.qcow2Image({ version: 2, backing: '/x' }), /backing file/],
    ['a qcow2 backed by json:', 'qcow2', vectors.qcow2Image({ backing: 'json:{"driver":"nbd"}' }), /backing file/],
    ['a qcow2 with a data file', 'qcow2', vectors.qcow2Image({ features: 4n }), /external data file/],
    ['a qcow2 with unknown features', 'qcow2', vectors.qcow2Image({ features: 1n << 10n }), /unknown features/],
    ['a qcow2 with dirty bitmaps', 'qcow2', vectors.qcow2Image({ autoclear: 1n }), /dirty bitmaps/],
    ['an encrypted qcow2', 'qcow2', vectors.qcow2Image({ crypt: 2 }), /encrypted/],
    ['a qcow version 1', 'qcow2', vectors.qcow2Image({ version: 1 }), /version 1/],
    [
      'a flat VMDK descriptor',
      'vmdk',
      Buffer.from(vectors.descriptor('monolithicFlat', 'RW 16 FLAT "/etc/hostname" 0')),
      /holds its own data/,
    ],
    [
      'a flat VMDK descriptor called raw',
      'raw',
      Buffer.from(vectors.descriptor('monolithicFlat', 'RW 16 FLAT "/etc/hostname" 0')),
      /does not match stream data vmdk/,
    ],
    ['a bare version line', 'raw', Buffer.from('# x\nversion=1\nRW 1 FLAT "/etc/passwd" 0\n'), /does not match/],
    [
      'a VMDK split into files',
      'vmdk',
      Buffer.from(vectors.descriptor('twoGbMaxExtentFlat', 'RW 16 FLAT "x-f001.vmdk" 0')),
      /holds its own data/,
    ],
    [
      'a flat descriptor in a sparse VMDK',
      'vmdk',
      vectors.vmdkImage({ type: 'monolithicFlat', extent: 'RW 16 FLAT "/etc/hostname" 0' }),
      /monolithicflat is not supported/,
    ],
    [
      'a foreign extent in a sparse VMDK',
      'vmdk',
      vectors.vmdkImage({ extent: 'RW 16 SPARSE "/etc/hostname"' }),
      /foreign extent/,
    ],
    ['a sparse VMDK with a parent', 'vmdk', vectors.vmdkImage({ more: 'parentFileNameHint="x.vmdk"' }), /backing file/],
    ['a VMDK whose descriptor is no plain text', 'vmdk', vectors.vmdkImage({ more: 'x="\xe9"' }), /not valid/],
    ['the first bytes of a VHDX, called raw', 'raw', vectors.vhdxImage().subarray(0, 20), /does not match/],
    ['the first bytes of a VHD, called raw', 'raw', vectors.dynamicVhd().subarray(0, 20), /does not match/],
    ['the first bytes of a VHD, called vhd', 'vhd', vectors.dynamicVhd().subarray(0, 20), /cut off/],
    ['a sparse VMDK of no size', 'vmdk', vectors.vmdkImage({ capacity: 0n }), /virtual size/],
    ['a VMDK whose footer points elsewhere', 'vmdk', vectors.vmdkImage({ footer: 'bad' }), /footer/],
    ['a VMDK without its footer', 'vmdk', vectors.vmdkImage({ footer: 'missing' }), /footer/],
    ['a differencing VHD', 'vhd', vectors.dynamicVhd(4), /backing file/],
    ['a VHDX with a parent', 'vhdx', vectors.vhdxImage({ parent: true }), /backing file/],
    ['a VHDX without regions', 'vhdx', vectors.vhdxImage({ regions: false }), /regions/],
    ['a differencing VDI', 'vdi', vectors.vdiImage(4), /backing file/],
    ['QED', 'qcow2', Buffer.concat([Buffer.from('QED\0'), Buffer.alloc(1024)]), /does not match stream data qed/],
    ['QED called raw', 'raw', Buffer.concat([Buffer.from('QED\0'), Buffer.alloc(1024)]), /does not match/],
    ['LUKS called raw', 'raw', Buffer.concat([Buffer.from('LUKS\xba\xbe', 'latin1'), Buffer.alloc(1024)]), /luks/],
    [
      'an ISO that begins as a qcow2',
      'iso',
      over(vectors.qcow2Image({ backing: '/x' }).subarray(0, 32768), vectors.isoImage()),
      /Multiple formats detected: qcow2, iso/,
    ],
    [
      'the same called qcow2',
      'qcow2',
      over(vectors.qcow2Image().subarray(0, 32768), vectors.isoImage()),
      /Multiple formats detected/,
    ],
  ];
  it.each(cases)('%s as %s', (_, disk, bytes, reason) => {
    for (const step of [1 << 30, 64 * 1024, 511]) expect(inspect(bytes, disk, 'bare', step).refusal).toMatch(reason);
  });

  it('is refused before the rest of a long stream is read', () => {
    const inspector = new ImageInspector('raw', 'bare');
    expect(inspector.feed(over(vectors.qcow2Image(), Buffer.alloc(2 * MIB)))).toMatch(/does not match/);
  });
});

describe('a VMDK with a parent where only some readers find it', () => {
  const kinds = [
    ['monolithicSparse', vectors.vmdkImage()],
    ['streamOptimized', vectors.vmdkImage({ footer: 'good' })],
  ] as const;
  const cases = kinds.flatMap(([type, image]) =>
    vectors
      .parentedDescriptors('secret.vmdk', type)
      .map(([where, text, sectors]) => [type, where, vectors.describedBy(text, sectors, image)] as const),
  );
  it.each(cases)('%s, %s, is refused', (_type, _where, bytes) => {
    for (const step of [1 << 30, 511]) expect(inspect(bytes, 'vmdk', 'bare', step).refusal).toMatch(/backing file/);
    expect(inspect(vectors.ovaImage(bytes), 'vmdk', 'ova').refusal).toMatch(/backing file/);
  });
  const described = (more: string) =>
    vectors.describedBy(vectors.descriptor('monolithicSparse', 'RW 1 SPARSE "x"', more), 20, vectors.vmdkImage());
  it.each([
    ['another CID of a parent', described('parentCID=ffffffff'), /backing file/],
    ['a CID of a parent in a comment', described('#ParentCID=12345678'), /backing file/],
    ['another type in a comment', described('# createType="monolithicFlat"'), /not valid/],
    ['an extent behind a carriage return', described('#\rRW 1 FLAT "/etc/hostname" 0'), /foreign extent/],
    ['behind a zero', described('\0parentFileNameHint="x"'), /backing file/],
  ])('%s is refused, too', (_, bytes, reason) => expect(inspect(bytes, 'vmdk').refusal).toMatch(reason));
});

describe('a VHDX that may be read in two ways', () => {
  const [header, other, table, copy] = [64, 128, 192, 256].map((kib) => kib * 1024) as [number, number, number, number];
  const metadata = 2 * MIB;
  const damaged = (at: number, b = vectors.vhdxImage()) => {
    b[at + 20] = b[at + 20]! ^ 1;
    return b;
  };
  const changed = (change: (b: Buffer) => void) => vectors.vhdxImage({ change });
  it.each<[string, Buffer, RegExp]>([
    ['a log to be replayed', changed((b) => b.fill(7, other + 48, other + 64)), /log is still to be replayed/],
    [
      'a log in its first header, the newer one',
      changed((b) => {
        b.writeBigUInt64LE(8n, header + 8);
        b.fill(7, header + 48, header + 64);
      }),
      /log is still to be replayed/,
    ],
    [
      'a log in the one header that is whole',
      damaged(
        other,
        changed((b) => b.fill(7, header + 48, header + 64)),
      ),
      /log is still to be replayed/,
    ],
    ['damaged headers', damaged(header, damaged(other)), /headers are not valid/],
    ['a header of another version', changed((b) => b.writeUInt16LE(2, other + 66)), /headers are not valid/],
    [
      'two headers that are as new',
      changed((b) => {
        b.writeBigUInt64LE(6n, other + 8);
        b[other + 16] = 1;
      }),
      /headers are not valid/,
    ],
    ['a damaged region table', damaged(table), /regions are not valid/],
    ['a damaged copy of it', damaged(copy), /regions are not valid/],
    ['a copy of it that differs', changed((b) => b.writeBigUInt64LE(3n * BigInt(MIB), copy + 32)), /regions are not/],
    [
      'two regions of metadata',
      changed((b) => {
        for (const at of [table, copy]) {
          b.writeUInt32LE(2, at + 8);
          b.copy(b, at + 48, at + 16, at + 48);
        }
      }),
      /regions are not valid/,
    ],
    [
      'two items of its parameters',
      changed((b) => {
        b.writeUInt16LE(3, metadata + 10);
        b.copy(b, metadata + 96, metadata + 32, metadata + 64);
      }),
      /metadata is not valid/,
    ],
    [
      'a place of its parent',
      changed((b) => {
        b.writeUInt16LE(3, metadata + 10);
        b.write('2d5fd3a80bb34d45abf7d3d84834ab0c', metadata + 96, 'hex');
      }),
      /backing file/,
    ],
  ])('with %s is refused', (_, bytes, reason) => {
    for (const step of [1 << 30, 511]) expect(inspect(bytes, 'vhdx', 'bare', step).refusal).toMatch(reason);
  });
  it.each([
    ['one header written twice, as disk2vhd does', changed((b) => b.writeBigUInt64LE(6n, other + 8))],
    ['a log that the older header has', changed((b) => b.fill(7, header + 48, header + 64))],
    ['an older header of another version', changed((b) => b.writeUInt16LE(2, header + 66))],
    ['a first header that is not whole', damaged(header)],
    ['a second header that is not whole', damaged(other)],
    ['one header only', changed((b) => b.fill(0, header, header + 4))],
  ])('with %s is accepted', (_, bytes) => {
    for (const step of [1 << 30, 511]) expect(inspect(bytes, 'vhdx', 'bare', step).refusal).toBeNull();
  });
});

describe('a VHD that may be read in two ways', () => {
  const footer = (header?: number) => vectors.vhdFooter(3, 10 * MIB, header);
  const other = Buffer.from(footer());
  other[84] = 1;
  other.writeUInt32BE(other.readUInt32BE(64) - 1, 64);
  const damaged = vectors.vhdHeader();
  damaged[40] = 1;
  it.each<[string, Parameters<typeof vectors.dynamicVhd>[2], RegExp]>([
    ['two footers that name other headers', { first: footer(2048), last: footer() }, /header is misplaced/],
    ['the same the other way round', { first: footer(), last: footer(2048) }, /not the one in front/],
    ['two footers that differ, each whole', { last: other }, /not the one in front/],
    ['a header elsewhere', { first: footer(2048) }, /header is misplaced/],
    ['a damaged header', { header: damaged }, /header is damaged/],
    ['no header', { header: Buffer.alloc(1024) }, /header is damaged/],
  ])('with %s is refused', (_, parts, reason) => {
    const bytes = vectors.dynamicVhd(3, 10 * MIB, parts);
    for (const step of [1 << 30, 511]) expect(inspect(bytes, 'vhd', 'bare', step).refusal).toMatch(reason);
  });
});

describe('OSSA-2023-001 OSSA-2023-002 an OVA', () => {
  const good = vectors.vmdkImage({ footer: 'good' });
  const { ovf, tarImage } = vectors;
  it('with a descriptor and a disk is accepted, and its disk is told', () => {
    for (const step of [1 << 30, 64 * 1024, 511])
      expect(inspect(vectors.ovaImage(), 'vmdk', 'ova', step)).toMatchObject({
        ...{ refusal: null, format: 'ova', form: 'ova', virtualSize: 10 * MIB },
      });
  });
  it.each<[string, Buffer, RegExp]>([
    ['no archive', vectors.qcow2Image({ backing: '/x' }), /does not match|damaged/],
    ['an archive of no disk', tarImage(['vm.ovf', ovf()]), /no archive with/],
    ['nothing', Buffer.alloc(0), /no archive with/],
    ['an archive whose descriptor is not first', tarImage(['d.vmdk', good], ['vm.ovf', ovf('d.vmdk')]), /must begin/],
    ['two descriptors', tarImage(['vm.ovf', ovf('d.vmdk')], ['b.ovf', ovf()], ['d.vmdk', good]), /must begin/],
    [
      'a flat disk',
      tarImage(
        ['vm.ovf', ovf('d.vmdk')],
        ['d.vmdk', vectors.descriptor('monolithicFlat', 'RW 16 FLAT "/etc/hostname" 0')],
      ),
      /holds its own data/,
    ],
    [
      'a disk with a parent',
      tarImage(['vm.ovf', ovf('d.vmdk')], ['d.vmdk', vectors.vmdkImage({ more: 'parentFileNameHint="x"' })]),
      /backing file/,
    ],
    ['a disk that is a qcow2', vectors.ovaImage(vectors.qcow2Image({ backing: '/x' })), /does not match/],
    [
      'a descriptor of files elsewhere',
      tarImage(['vm.ovf', ovf('/etc/passwd')], ['d.vmdk', good]),
      /not in the archive/,
    ],
    ['a descriptor with a URL', tarImage(['vm.ovf', ovf('http://x/d.vmdk')], ['d.vmdk', good]), /not in the archive/],
    ['a descriptor with entities', tarImage(['vm.ovf', `<!DOCTYPE x>${ovf()}`], ['d.vmdk', good]), /entities/],
    ['a descriptor that is none', tarImage(['vm.ovf', 'x'], ['d.vmdk', good]), /not valid/],
    ['a path', tarImage(['vm.ovf', ovf('a/d.vmdk')], ['../d.vmdk', good]), /unusual names/],
    ['one name twice', tarImage(['vm.ovf', ovf('d.vmdk')], ['d.vmdk', good], ['d.vmdk', good]), /two entries/],
    ['a cut off disk', vectors.ovaImage().subarray(0, 60_000), /cut off/],
    ['a descriptor without end', tarImage(['vm.ovf', Buffer.alloc(2 * MIB, 'x')]), /too large/],
    [
      'too many entries',
      tarImage(['vm.ovf', ovf()], ...Array.from({ length: 70 }, (_, i) => [`f${i}`, ''] as const)),
      /too many/,
    ],
  ])('that is %s is refused', (_, bytes, reason) => {
    for (const step of [1 << 30, 511]) expect(inspect(bytes, 'vmdk', 'ova', step).refusal).toMatch(reason);
  });
  it('that links to a file is refused', () => {
    const link = vectors.ovaImage();
    link[156] = 0x32;
    link.write('        ', 148);
    const sum = link.subarray(0, 512).reduce((all, byte) => all + byte, 0);
    link.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    expect(inspect(link, 'vmdk', 'ova').refusal).toMatch(/no plain files/);
  });
  it('whose virtual size nobody can hold is refused', () =>
    expect(
      inspect(
        vectors.ovaImage(vectors.vmdkImage({ footer: 'good', capacity: (200n * 1024n ** 4n) / 512n })),
        'vmdk',
        'ova',
      ).refusal,
    ).toMatch(/62 TiB at most/));
});

describe('the manifest of an OVA', () => {
  const disk = vectors.vmdkImage({ footer: 'good' });
  const ovf = vectors.ovf('d.vmdk');
  const digest = (algorithm: string, bytes: Buffer | string) => createHash(algorithm).update(bytes).digest('hex');
  const manifest = (kind: string, gap = '') =>
    [
      `${kind}${gap}(vm.ovf)${gap}= ${digest(kind, ovf)}`,
      `${kind}${gap}(d.vmdk)${gap}= ${digest(kind, disk)}`,
      `${kind}${gap}(empty.iso)${gap}= ${digest(kind, '')}`,
    ].join('\r\n');
  const archives = (text: string) => {
    const files = [['d.vmdk', disk] as const, ['empty.iso', ''] as const];
    return [
      vectors.tarImage(['vm.ovf', ovf], ['vm.mf', text], ...files),
      vectors.tarImage(['vm.ovf', ovf], ...files, ['vm.mf', text]),
    ];
  };
  const verdicts = (text: string) =>
    archives(text).flatMap((bytes) => [1 << 30, 511].map((step) => inspect(bytes, 'vmdk', 'ova', step).refusal));

  it.each([
    ['as ovftool writes it', manifest('SHA256')],
    ['of SHA-1, as VirtualBox writes it', manifest('SHA1', ' ')],
    ['of SHA-512', manifest('SHA512')],
    ['that names some of the files only', `SHA256(d.vmdk)= ${digest('sha256', disk).toUpperCase()}\n\n`],
    ['of nothing', ''],
  ])('%s is agreed to, before the files or after them', (_, text) =>
    expect(verdicts(text)).toEqual([null, null, null, null]),
  );
  it('may name files with parentheses', () => {
    const name = 'My VM (2)-disk001.vmdk';
    const named = (text: string) =>
      vectors.tarImage(['My VM (2).ovf', vectors.ovf(name)], ['My VM (2).mf', text], [name, disk]);
    const line = (sum: string) => `SHA1 (${name}) = ${sum}`;
    expect(inspect(named(line(digest('sha1', disk))), 'vmdk', 'ova').refusal).toBeNull();
    expect(inspect(named(line('0'.repeat(40))), 'vmdk', 'ova').refusal).toMatch(/another digest/);
  });
  it.each([
    ['another digest of a disk', `${manifest('SHA256')}\nSHA256(d.vmdk)= ${'0'.repeat(64)}`, /another digest/],
    ['another digest of the descriptor', `SHA1(vm.ovf)= ${'0'.repeat(40)}`, /another digest/],
    ['a part of a digest', `SHA256(d.vmdk)= ${digest('sha256', disk).slice(0, 20)}`, /another digest/],
    ['a file that is not there', `SHA256(other.vmdk)= ${digest('sha256', disk)}`, /not in the archive/],
    ['digests that nobody knows', `SHA3(d.vmdk)= 00`, /manifest is not valid/],
    ['other words', 'hello', /manifest is not valid/],
  ])('with %s refuses the archive', (_, text, reason) => {
    for (const refusal of verdicts(text)) expect(refusal).toMatch(reason);
  });
  it.each([
    ['one that never ends', [['vm.mf', Buffer.alloc(2 * MIB, 'x')]], /too large/],
    [
      'two of them',
      [
        ['vm.mf', ''],
        ['b.mf', ''],
      ],
      /two manifests/,
    ],
  ] as [string, [string, string | Buffer][], RegExp][])('is no %s', (_, files, reason) =>
    expect(inspect(vectors.tarImage(['vm.ovf', ovf], ...files, ['d.vmdk', disk]), 'vmdk', 'ova').refusal).toMatch(
      reason,
    ),
  );
});

describe('the form of an image', () => {
  it.each<[string, string, Buffer]>([
    ['vhd', 'vhd', vectors.dynamicVhd()],
    ['vhd-fixed', 'vhd', vectors.fixedVhd()],
    ['vmdk', 'vmdk', vectors.vmdkImage({ footer: 'good' })],
    ['vmdk', 'vmdk', vectors.vmdkImage({ flags: 0x30001 })],
    ['vmdk-sparse', 'vmdk', vectors.vmdkImage()],
    ['vmdk-sparse', 'vmdk', vectors.vmdkImage({ footer: 'good', flags: 1 })],
    ['vmdk-sparse', 'vmdk', vectors.vmdkImage({ type: 'streamOptimized', flags: 0x10001 })],
    ['raw', 'raw', vectors.labelledImage()],
    ['aki', 'aki', vectors.labelledImage()],
    ['qcow2', 'qcow2', vectors.qcow2Image()],
  ])('is told: %s', (form, disk, bytes) => expect(inspect(bytes, disk).form).toBe(form));
  it('is not told of a container that nobody looks into', () =>
    expect(inspect(Buffer.from('x'), 'raw', 'docker').form).toBeNull());
});

describe('a boot sector', () => {
  const sector = (change: (b: Buffer) => void) => {
    const b = vectors.labelledImage();
    change(b);
    return b;
  };
  const protective = (b: Buffer) => {
    b[446] = 0;
    b[450] = 0xee;
    b.writeUIntBE(0x000200, 447, 3);
    b.writeUInt32LE(1, 454);
  };
  it('of GPT is accepted', () => expect(inspect(sector(protective), 'raw').refusal).toBeNull());
  it.each<[string, (b: Buffer) => void]>([
    ['without partitions', (b) => b.fill(0, 446, 462)],
    ['with a boot flag that is none', (b) => b.fill(1, 446, 447)],
    [
      'of GPT with more partitions',
      (b) => {
        protective(b);
        b.fill(0x83, 466, 467);
      },
    ],
    [
      'of GPT that begins elsewhere',
      (b) => {
        protective(b);
        b.writeUInt32LE(2, 454);
      },
    ],
  ])('%s is refused, unless it is a kernel', (_, change) => {
    expect(inspect(sector(change), 'raw').refusal).toMatch(/partition/);
    expect(inspect(sector(change), 'ari').refusal).toBeNull();
  });
});

describe('a disk that its format cannot hold', () => {
  const TIB = 1024 ** 4;
  it.each<[string, string, Buffer, string]>([
    ['VHD', 'vhd', vectors.dynamicVhd(3, 2 * TIB), '2040 GiB'],
    ['VHDX', 'vhdx', vectors.vhdxImage({ size: 65 * TIB }), '64 TiB'],
    ['VMDK', 'vmdk', vectors.vmdkImage({ capacity: BigInt((63 * TIB) / 512) }), '62 TiB'],
  ])('%s is refused', (_, disk, bytes, most) =>
    expect(inspect(bytes, disk).refusal).toContain(`holds ${most} at most`),
  );
});
