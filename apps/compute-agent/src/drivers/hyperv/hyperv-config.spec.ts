import { expect, it } from 'vitest';
import { commandFor, scriptArguments } from './host-processes.js';
import { HyperVSettings, hypervOptions } from './hyperv-config.js';

it('names hosts, switches and the rest', () => {
  const settings = HyperVSettings.parse({
    OMNIVISOR_HYPERV_HOSTS: 'agent@hv1.example, [fd00::1]:2222',
    OMNIVISOR_HYPERV_SWITCHES: 'physnet1=External,physnet2=Lab',
    OMNIVISOR_HYPERV_GENERATION: '2',
    OMNIVISOR_HYPERV_DELEGATES_TO: 'hv8.example, hv9.example',
  });
  expect(hypervOptions(settings, 'cloud')).toMatchObject({
    cloudId: 'cloud',
    nodes: [
      { name: 'hv1.example', consoleHost: 'hv1.example', delegatesTo: ['hv8.example', 'hv9.example'] },
      { name: '[fd00::1]' },
    ],
    switches: { physnet1: 'External', physnet2: 'Lab' },
    generation: 2,
    dynamicMemoryRatio: 1,
  });
  expect(hypervOptions(HyperVSettings.parse({ OMNIVISOR_HYPERV_HOSTS: '' }), 'cloud').nodes).toEqual([]);
});

it.each([
  { OMNIVISOR_HYPERV_HOSTS: '-oProxyCommand=bad' },
  { OMNIVISOR_HYPERV_SWITCHES: 'physnet1' },
  { OMNIVISOR_HYPERV_SCRIPT: 'C:\\a b; calc.ps1' },
  { OMNIVISOR_HYPERV_ROOT: 'D:\\Omni visor' },
  { OMNIVISOR_HYPERV_ROOT: 'D:\\a;b' },
  { OMNIVISOR_HYPERV_GENERATION: '3' },
  { OMNIVISOR_HYPERV_MEMORY_RATIO: '0' },
])('refuses %o', (settings) => {
  expect(HyperVSettings.safeParse(settings).success).toBe(false);
});

it('asks ssh to trust known keys only, and to forward and ask nothing', () => {
  const target = {
    host: 'hv1',
    port: 22,
    user: 'agent',
    identityFile: '/key',
    knownHostsFile: '/known',
    script: 'C:\\o.ps1',
  };
  const args = scriptArguments(target);
  for (const option of [
    'StrictHostKeyChecking=yes',
    'BatchMode=yes',
    'ClearAllForwardings=yes',
    'UserKnownHostsFile=/known',
  ])
    expect(args).toContain(option);
  expect(args.slice(-3)).toEqual([
    '--',
    'hv1',
    'powershell.exe -NoProfile -NonInteractive -ExecutionPolicy RemoteSigned -File C:\\o.ps1',
  ]);
});

it('tells the script which folder is its own, where that is said', () => {
  const { OMNIVISOR_HYPERV_ROOT: root } = HyperVSettings.parse({ OMNIVISOR_HYPERV_ROOT: 'C:\\ClusterStorage\\V-1\\O' });
  expect(commandFor({ script: 'C:\\o.ps1', root }).slice(-4)).toEqual([
    ...['-File', 'C:\\o.ps1', '-Root', 'C:\\ClusterStorage\\V-1\\O'],
  ]);
  expect(commandFor({ script: 'C:\\o.ps1' }).slice(-2)).toEqual(['-File', 'C:\\o.ps1']);
});
