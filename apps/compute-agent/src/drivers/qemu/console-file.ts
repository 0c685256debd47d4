import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';

/** A guest decides how much it writes, so the file is cut to its newest part when it gets longer than this. */
const LONGEST = 4 << 20;
const KEPT = 1 << 20;

const lastBytes = (file: number, maxBytes: number): Buffer => {
  const { size } = fstatSync(file);
  const bytes = Buffer.alloc(Math.min(size, maxBytes));
  return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, size - bytes.length));
};

const withFile = <T>(path: string, flags: string, otherwise: T, action: (file: number) => T): T => {
  let file: number;
  try {
    file = openSync(path, flags);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return otherwise;
    throw error;
  }
  try {
    return action(file);
  } finally {
    closeSync(file);
  }
};

/** The newest bytes of a console log; none when there is no file. */
export const consoleTail = (path: string, maxBytes: number): Buffer =>
  withFile(path, 'r', Buffer.alloc(0), (file) => lastBytes(file, maxBytes));

/** QEMU appends to the file, so it goes on at the new end. What comes between reading and cutting is lost. */
export const trimConsole = (path: string): void =>
  withFile(path, 'r+', undefined, (file) => {
    if (fstatSync(file).size <= LONGEST) return;
    const kept = lastBytes(file, KEPT);
    ftruncateSync(file, 0);
    writeSync(file, kept, 0, kept.length, 0);
  });
