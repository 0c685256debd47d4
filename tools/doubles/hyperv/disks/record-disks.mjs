import { existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

const HEAD = 'record of a virtual hard disk\n';

/** Virtual hard disks as records: a file that says what the disk is, and `content` instead of sectors. */
export const recordDisks = {
  create(file, { format, type, size, parent = null, content = null }) {
    mkdirSync(dirname(file), { recursive: true });
    const body = JSON.stringify({ format, type, size, parent, content });
    writeFileSync(`${file}.tmp`, HEAD + body);
    renameSync(`${file}.tmp`, file);
  },
  /** @returns null when the file is no disk */
  info(file) {
    if (!existsSync(file)) return null;
    const text = readFileSync(file, 'utf8');
    if (!text.startsWith(HEAD)) return null;
    return { ...JSON.parse(text.slice(HEAD.length)), fileSize: statSync(file).size };
  },
  /** Everything a guest would read, from the disk and its parents. */
  contentOf(file) {
    const { parent, content } = this.info(file);
    return content ?? (parent ? this.contentOf(parent) : null);
  },
  convert(file, to, { format, type }) {
    this.create(to, { format, type, size: this.info(file).size, content: this.contentOf(file) });
  },
  resize(file, size) {
    const { fileSize, ...disk } = this.info(file);
    this.create(file, { ...disk, size });
  },
  /** The same disk elsewhere, over the same parent there. */
  copy(file, to, parent) {
    const { fileSize, ...disk } = this.info(file);
    this.create(to, { ...disk, parent });
  },
  /** What was written to `file` goes into its parent. */
  merge(file) {
    const { content, parent, size } = this.info(file);
    const { fileSize, ...below } = this.info(parent);
    this.create(parent, { ...below, size, content: content ?? below.content });
  },
};
