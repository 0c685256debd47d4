import { execFileSync } from 'node:child_process';
import { closeSync, copyFileSync, existsSync, fstatSync, mkdirSync, openSync, readSync, renameSync } from 'node:fs';
import { dirname } from 'node:path';

const qemuImg = (...args) => execFileSync('qemu-img', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

/** QEMU's name of what a file is, told from its own signatures. @returns null when it is no disk */
export const imageKind = (file) => {
  if (!existsSync(file)) return null;
  const fd = openSync(file, 'r');
  try {
    const read = (at, length) => {
      const bytes = Buffer.alloc(length);
      readSync(fd, bytes, 0, length, at);
      return bytes.toString('latin1');
    };
    const { size } = fstatSync(fd);
    if (read(0, 4) === 'QFI\xfb') return 'qcow2';
    if (read(0, 8) === 'vhdxfile') return 'vhdx';
    if (read(0, 8) === 'conectix') return 'vpc';
    return size >= 512 && read(size - 512, 8) === 'conectix' ? 'vpc' : null;
  } finally {
    closeSync(fd);
  }
};

const created = (format, type) =>
  format === 'VHDX'
    ? ['vhdx', `subformat=${type.toLowerCase()}`]
    : ['vpc', `subformat=${type.toLowerCase()},force_size=on`];

/**
 * Real VHD and VHDX files. QEMU can write no differencing disk of these formats, so such a disk is a qcow2 overlay here;
 * what a guest reads still comes from the real VHD or VHDX below it.
 */
export const qemuImgDisks = {
  create(file, { format, type, size, parent }) {
    mkdirSync(dirname(file), { recursive: true });
    if (parent) {
      qemuImg('create', '-q', '-f', 'qcow2', '-b', parent, '-F', imageKind(parent), file, String(size));
      return;
    }
    const [kind, options] = created(format, type);
    qemuImg('create', '-q', '-f', kind, '-o', options, file, String(size));
  },
  info(file) {
    const kind = imageKind(file);
    if (!kind) return null;
    const told = JSON.parse(qemuImg('info', '-U', '--output=json', '-f', kind, file));
    return {
      format: /x$/i.test(file) ? 'VHDX' : 'VHD',
      type: kind === 'qcow2' ? 'Differencing' : 'Dynamic',
      size: told['virtual-size'],
      fileSize: told['actual-size'],
      parent: told['full-backing-filename'] ?? null,
    };
  },
  convert(file, to, { format, type }) {
    mkdirSync(dirname(to), { recursive: true });
    const [kind, options] = created(format, type);
    qemuImg('convert', '-U', '-f', imageKind(file), '-O', kind, '-o', options, file, to);
  },
  resize(file, size) {
    const kind = imageKind(file);
    if (kind === 'qcow2') {
      qemuImg('resize', '-q', '-f', kind, file, String(size));
      return;
    }
    // QEMU grows neither format in place.
    const larger = `${file}.larger`;
    this.create(larger, { format: kind === 'vhdx' ? 'VHDX' : 'VHD', type: 'Dynamic', size });
    qemuImg('convert', '-n', '-f', kind, '-O', kind, file, larger);
    renameSync(larger, file);
  },
  copy(file, to, parent) {
    mkdirSync(dirname(to), { recursive: true });
    copyFileSync(file, to);
    if (parent) qemuImg('rebase', '-q', '-u', '-f', 'qcow2', '-b', parent, '-F', imageKind(parent), to);
  },
  merge(file) {
    qemuImg('commit', '-q', '-f', 'qcow2', file);
  },
};
