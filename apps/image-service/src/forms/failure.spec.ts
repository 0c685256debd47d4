import { conflict } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { Unreadable } from '../guest/disk.js';
import { ToolFailed } from '../sandbox/sandbox.js';
import { StoreFull } from '../store/index.js';
import { failureOf, isFull } from './failure.js';

describe('a full disk', () => {
  it.each([
    [true, new StoreFull()],
    [true, new ToolFailed('qemu-img', 'status 1', 'error while writing at byte 9: No space left on device')],
    [true, new ToolFailed('qemu-img', 'status 1', 'error while writing at byte 9: Disk quota exceeded')],
    [true, new ToolFailed('node', 'status 1', '[Error: ENOSPC: no space left on device, write]')],
    [false, new ToolFailed('qemu-img', 'status 1', 'error while writing at byte 9: File too large')],
    [false, conflict('It is gone.')],
  ])('is told (%s) of %s', (full, error) => expect(isFull(error)).toBe(full));
});

describe('why a conversion failed', () => {
  it.each([
    ['SIGKILL', '', 'it took longer than it may'],
    ['SIGXFSZ', '', 'the result became larger than it may'],
    ['status 1', 'error while writing at byte 0: File too large', 'the result became larger than it may'],
    ['status 1', '[Error: EFBIG: file too large, write]', 'the result became larger than it may'],
    ['status 1', 'Cannot allocate memory', 'it took more memory than it may'],
    ['SIGTRAP', 'GLib: failed to allocate 536870912 bytes', 'it took more memory than it may'],
    [
      'status 1',
      "Could not open 'driver=qcow2,file.filename=/dev/fd/3': L1 table is too small",
      'the image could not be read, it may be damaged',
    ],
    ['status 1', 'error while reading at byte 0: Input/output error', 'the image could not be read, it may be damaged'],
    ['status 1', 'something of /dev/fd/3 that nobody knows', 'the converter failed'],
  ])('is told of %s %j in words of ours', (status, words, reason) =>
    expect(failureOf(new ToolFailed('qemu-img', status, words))).toBe(reason),
  );
  it('is what was found in the guest, or what refuses it', () => {
    expect(failureOf(new Unreadable('it has no kernel that was found'))).toBe('it has no kernel that was found');
    expect(failureOf(conflict('It is gone.'))).toBe('It is gone.');
    expect(failureOf(new Error('ENOENT /secret'))).toBe('the converter failed');
  });
});
