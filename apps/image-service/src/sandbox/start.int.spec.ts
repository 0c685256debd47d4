import { spawnSync } from 'node:child_process';
import { type Bytes, ms } from '@omnivisor/contracts';
import { describe, expect, it, vi } from 'vitest';
import { Sandbox, ToolFailed } from './sandbox.js';

vi.mock('node:child_process', async (original) => {
  const real = await original<typeof import('node:child_process')>();
  return { ...real, spawn: (_: string, args: string[], options: object) => real.spawn('/no/such/file', args, options) };
});

describe.runIf(spawnSync('prlimit', ['--version']).status === 0)('a tool that cannot be started', () => {
  const limits = { memory: (2 ** 29) as Bytes, cpu: 10, file: (2 ** 20) as Bytes, wall: ms(20_000) };

  it.each(['start', 'run'] as const)('is refused by %s', async (how) => {
    const sandbox = Sandbox.detect([]);
    await expect(sandbox[how]('cat', [], { files: [], limits })).rejects.toBeInstanceOf(ToolFailed);
  });
});
