import { describe, expect, it } from 'vitest';
import { hostUptime, isOwnMachine } from './host-uptime.js';

describe('the uptime of a host', () => {
  it('is a line as clients of Nova read it', async () => {
    // The expression of the `openstack` client.
    expect(await hostUptime()).toMatch(/^\s*(.+)\sup\s+(.+),\s+(.+)\susers?,\s+load average:\s(.+)$/);
  });

  it('is not to be had where the program is not installed', () =>
    expect(hostUptime('/nowhere')).rejects.toMatchObject({ code: 'unsupported' }));

  it('is told of the machine that guests run on, and of no other', () => {
    const told = (backend: Parameters<typeof isOwnMachine>[0], xen = 'local') =>
      isOwnMachine(backend, { OMNIVISOR_XEN_HOST: xen });
    expect([told('qemu'), told('fake'), told('xen')]).toEqual([true, true, true]);
    expect([told('xen', 'root@dom0'), told('vsphere'), told('hyperv'), told('xenserver')]).not.toContain(true);
  });
});
