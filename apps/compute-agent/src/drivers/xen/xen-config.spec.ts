import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { quoted } from './host-shell.js';
import { XenSettings, xenOptions } from './xen-config.js';

describe('settings of Xen', () => {
  it('name dom0, bridges and the rest', async () => {
    const settings = XenSettings.parse({
      ...{ OMNIVISOR_XEN_HOST: 'agent@xen1.example:2222', OMNIVISOR_XEN_BRIDGES: 'physnet1=xenbr0,physnet2=xenbr1' },
      ...{ OMNIVISOR_XEN_TYPE: 'pvh', OMNIVISOR_XEN_RESERVED_MIB: '512' },
    });
    const { shell, ...options } = xenOptions(settings, 'cloud');
    expect(options).toEqual({
      ...{ cloudId: 'cloud', patience: 1, root: '/var/lib/omnivisor/xen', type: 'pvh', reservedMemoryMib: 512 },
      bridges: { physnet1: 'xenbr0', physnet2: 'xenbr1' },
    });
    expect(shell.isRemote).toBe(true);
    shell.close();
    expect(xenOptions(XenSettings.parse({}), 'cloud').shell.isRemote).toBe(false);
  });

  it.each([
    { OMNIVISOR_XEN_HOST: '-oProxyCommand=bad' },
    { OMNIVISOR_XEN_HOST: '-l@host' },
    { OMNIVISOR_XEN_HOST: 'two hosts' },
    { OMNIVISOR_XEN_ROOT: 'relative' },
    { OMNIVISOR_XEN_ROOT: '/var/../etc' },
    { OMNIVISOR_XEN_ROOT: '/a b' },
    { OMNIVISOR_XEN_TYPE: 'container' },
    { OMNIVISOR_XEN_BRIDGES: 'physnet1' },
    { OMNIVISOR_XEN_BRIDGES: 'physnet1=a,script=/tmp/x' },
    { OMNIVISOR_XEN_BRIDGES: 'physnet1=-x' },
  ])('refuse %o', (settings) => {
    expect(XenSettings.safeParse(settings).success).toBe(false);
  });
});

describe('an argument for a shell', () => {
  it('comes out of it as it went in', () => {
    const words = ['', "it's", '$(reboot) `x` $y \\ "', 'a\nb', "'; rm -rf /; '", '-n', 'ü*?[a]~'];
    const command = `printf '%s\\0' ${words.map(quoted).join(' ')}`;
    expect(execFileSync('/bin/sh', ['-c', command], { encoding: 'utf8' }).split('\0').slice(0, -1)).toEqual(words);
  });

  it('holds no zero byte', () => {
    expect(() => quoted('a\0b')).toThrow('zero byte');
  });
});
