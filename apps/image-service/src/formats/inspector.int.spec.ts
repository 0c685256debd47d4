import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ImageInspector } from './inspector.js';
import { describedBy, parentedDescriptors } from './vectors.js';

const hasTool = spawnSync('qemu-img', ['--version']).status === 0;
const MIB = 1024 * 1024;

describe.skipIf(!hasTool)('files that qemu-img made', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'image-vectors-'));
    writeFileSync(join(folder, 'data.raw'), Buffer.alloc(MIB));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const verdict = (name: string, disk: string) => {
    const inspector = new ImageInspector(disk, 'bare');
    const bytes = readFileSync(join(folder, name));
    for (let at = 0; at < bytes.length; at += 65_536) inspector.feed(bytes.subarray(at, at + 65_536));
    return inspector.end();
  };
  const create = (name: string, ...args: string[]) =>
    execFileSync('qemu-img', ['create', '-q', ...args.slice(0, -1), join(folder, name), args.at(-1)!]);

  it.each([
    ['qcow2', 'qcow2', []],
    ['qcow2', 'qcow2', ['-o', 'compat=0.10']],
    ['vmdk', 'vmdk', ['-o', 'subformat=monolithicSparse']],
    ['vhdx', 'vhdx', []],
    ['vhdx', 'vhdx', ['-o', 'subformat=fixed']],
    ['vpc', 'vhd', ['-o', 'force_size=on']],
    ['vpc', 'vhd', ['-o', 'subformat=fixed,force_size=on']],
    ['vdi', 'vdi', []],
    ['raw', 'raw', []],
    ['parallels', 'ploop', []],
  ] as [string, string, string[]][])('%s as %s %j is accepted', (tool, disk, options) => {
    create('ok.img', '-f', tool, ...options, '10M');
    expect(verdict('ok.img', disk)).toEqual(expect.objectContaining({ refusal: null, virtualSize: 10 * MIB }));
  });

  it('streamOptimized with data is accepted', () => {
    const to = join(folder, 'so.vmdk');
    execFileSync('qemu-img', [
      ...['convert', '-f', 'raw', '-O', 'vmdk', '-o', 'subformat=streamOptimized'],
      ...[join(folder, 'data.raw'), to],
    ]);
    expect(verdict('so.vmdk', 'vmdk')).toMatchObject({ refusal: null, virtualSize: MIB });
  });

  it('backing files, data files, bitmaps and flat descriptors are refused', () => {
    create('b.qcow2', '-f', 'qcow2', '-u', '-b', '/etc/hostname', '-F', 'raw', '10M');
    expect(verdict('b.qcow2', 'qcow2').refusal).toMatch(/backing file/);
    create('d.qcow2', '-f', 'qcow2', '-o', `data_file=${join(folder, 'x.raw')},data_file_raw=on`, '1M');
    expect(verdict('d.qcow2', 'qcow2').refusal).toMatch(/data file/);
    create('f.vmdk', '-f', 'vmdk', '-o', 'subformat=monolithicFlat', '1M');
    expect(verdict('f.vmdk', 'vmdk').refusal).toMatch(/holds its own data/);
    create('t.vmdk', '-f', 'vmdk', '-o', 'subformat=twoGbMaxExtentFlat', '1M');
    expect(verdict('t.vmdk', 'vmdk').refusal).toMatch(/holds its own data/);
    create('m.qcow2', '-f', 'qcow2', '1M');
    execFileSync('qemu-img', ['bitmap', '-f', 'qcow2', '--add', join(folder, 'm.qcow2'), 'backup']);
    expect(verdict('m.qcow2', 'qcow2').refusal).toMatch(/dirty bitmaps/);
    execFileSync('qemu-img', ['bitmap', '-f', 'qcow2', '--remove', join(folder, 'm.qcow2'), 'backup']);
    expect(verdict('m.qcow2', 'qcow2').refusal).toBeNull();
    create('q.qed', '-f', 'qed', '1M');
    expect(verdict('q.qed', 'raw').refusal).toMatch(/qed/);
    expect(verdict('b.qcow2', 'raw').refusal).toMatch(/qcow2/);
  });

  /** What QEMU, which nothing keeps from it, would open besides the file. */
  const backing = (name: string, driver: string): string | undefined => {
    const file = `json:${JSON.stringify({ driver, file: { driver: 'file', filename: join(folder, name) } })}`;
    return JSON.parse(execFileSync('qemu-img', ['info', '--output=json', file], { encoding: 'utf8' }))[
      'backing-filename'
    ];
  };
  it.each(['monolithicSparse', 'streamOptimized'])('%s with a parent that QEMU would open is refused', (type) => {
    create('plain.vmdk', '-f', 'vmdk', '-o', `subformat=${type}`, '10M');
    expect(backing('plain.vmdk', 'vmdk')).toBeUndefined();
    const plain = readFileSync(join(folder, 'plain.vmdk'));
    const seen = parentedDescriptors('secret.vmdk', type).map(([where, text, sectors]) => {
      writeFileSync(join(folder, 'parented.vmdk'), describedBy(text, sectors, plain));
      return [where, backing('parented.vmdk', 'vmdk'), verdict('parented.vmdk', 'vmdk').refusal];
    });
    const followed = seen.map(([where]) => [where, 'secret.vmdk', expect.stringMatching(/backing file/)]);
    expect(seen).toEqual(followed);
  });
});
