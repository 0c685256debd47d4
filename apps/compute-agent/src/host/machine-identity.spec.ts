import { expect, it } from 'vitest';
import { type MachineTools, machineIdentity } from './machine-identity.js';

const linux = (files: Record<string, string>): MachineTools => ({
  read: async (path) => files[path] ?? Promise.reject(new Error(`no ${path}`)),
  run: () => Promise.reject(new Error('nothing is run')),
});
const windows = (answers: Record<string, string>): MachineTools => ({
  read: () => Promise.reject(new Error('nothing is read')),
  run: async (program, args) =>
    Object.entries(answers).find(([call]) => `${program} ${args.join(' ')}`.includes(call))?.[1] ?? '',
});
const boot = '/proc/sys/kernel/random/boot_id';

it('of Linux is its machine id and the id of its boot', async () => {
  const here = machineIdentity('linux', linux({ '/etc/machine-id': 'abc\n', [boot]: 'first\n' }));
  expect([await here.machineId(), await here.bootId()]).toEqual(['abc', 'first']);
});

it('of a Linux without a machine id is that of its boot', async () => {
  expect(await machineIdentity('linux', linux({ [boot]: 'first\n' })).machineId()).toBe('first');
  expect(await machineIdentity('linux', linux({ '/etc/machine-id': '\n', [boot]: 'first\n' })).machineId()).toBe(
    'first',
  );
});

it('of Windows is in its registry, and when it was started', async () => {
  const here = machineIdentity(
    'win32',
    windows({
      'reg.exe query HKLM\\SOFTWARE\\Microsoft\\Cryptography /v MachineGuid /reg:64':
        '\r\nHKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Cryptography\r\n    MachineGuid    REG_SZ    0F8A6DC1-27A1-4A3B-9E55-0D3C5B3D1F7E\r\n\r\n',
      'powershell.exe -NoProfile -NonInteractive -Command (Get-CimInstance Win32_OperatingSystem)':
        '2026-11-27T08:15:30.5000000Z\r\n',
    }),
  );
  expect(await here.machineId()).toBe('0f8a6dc1-27a1-4a3b-9e55-0d3c5b3d1f7e');
  expect(await here.bootId()).toBe('2026-11-27T08:15:30.5000000Z');
});

it('of a Windows that does not tell is an error', async () => {
  const here = machineIdentity('win32', windows({}));
  await expect(here.machineId()).rejects.toThrow('MachineGuid');
  await expect(here.bootId()).rejects.toThrow('when it was started');
});
