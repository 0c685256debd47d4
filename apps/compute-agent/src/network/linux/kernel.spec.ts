import { describe, expect, it } from 'vitest';
import { loadModules, namespaceSettings } from './kernel.js';

describe('what networks need of the kernel', () => {
  it('is loaded where it is a module', async () => {
    const said: string[] = [];
    const load = async (command: readonly string[]) => {
      said.push(command.join(' '));
      return '';
    };
    await loadModules(() => false, load);
    expect(said).toEqual(['modprobe br_netfilter', 'modprobe tun']);
    await loadModules(() => true, load);
    expect(said).toHaveLength(2);
  });

  it('is less on a machine without IPv6', () => {
    const without = namespaceSettings(false, (file) => file !== '/proc/sys/net/ipv6');
    expect(without.filter((s) => s.startsWith('net.ipv6'))).toEqual([]);
    expect(namespaceSettings(true, () => true)).toEqual(
      expect.arrayContaining([...without, 'net.ipv6.conf.all.accept_ra=0']),
    );
  });

  it('refuses a network with IPv6 where there is none', () =>
    expect(() => namespaceSettings(true, () => false)).toThrow('IPv6 switched off'));
});
