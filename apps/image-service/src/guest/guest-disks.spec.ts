import type { ImageFormat } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import type { ImageContext } from '../core.js';
import type { ImageRow } from '../image/image.projection.js';
import type { Sandbox } from '../sandbox/sandbox.js';
import { GuestDisks } from './guest-disks.js';

const canLook = (format: ImageFormat, tools: readonly string[]): boolean => {
  const sandbox = { has: (tool: string) => tools.includes(tool) } as Sandbox;
  return new GuestDisks({} as ImageContext, sandbox).canLook({ format } as ImageRow);
};

describe('a disk can be looked at', () => {
  it('in whatever format, where there is a tool that reads it', () =>
    expect([canLook('raw', ['qemu-nbd']), canLook('qcow2', ['qemu-nbd'])]).toEqual([true, true]));
  it('without a tool when it is plain bytes', () =>
    expect([canLook('raw', []), canLook('qcow2', [])]).toEqual([true, false]));
  it('where there is one', () => expect(canLook('iso', ['qemu-nbd'])).toBe(false));
});
