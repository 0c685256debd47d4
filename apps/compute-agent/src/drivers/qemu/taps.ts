import { HypervisorError } from '../hypervisor-driver.js';
import type { GuestDefinition } from './definition.js';
import { run } from './native-command.js';

/** A device as it stands in its namespace. */
interface Device {
  readonly tap: string;
  readonly netns: string | null;
  readonly master: string | null;
  readonly mtu: number;
  readonly up: boolean;
}

const inside = (netns: string | null) => (netns === null ? [] : ['-n', netns]);

/** The namespace a guest is started in: that of its first device. */
export const homeOf = ({ nics }: GuestDefinition): string | null => nics[0]?.netns ?? null;

/** True when the guest has devices in other namespaces than the one it is started in. */
export const isSpread = (guest: GuestDefinition): boolean => guest.nics.some((nic) => nic.netns !== homeOf(guest));

/**
 * QEMU with enough rights makes a tap device that is missing: one without bridge and without filter. So they have to be
 * there before it starts.
 */
const find = async (tap: string, netns: string | null): Promise<Device> => {
  const text = await run('ip', [...inside(netns), '-j', 'link', 'show', 'dev', tap]).catch((error: HypervisorError) => {
    if (error.code !== 'fault') throw error;
    throw new HypervisorError('fault', 'a network device of the guest is not there', error.native, { cause: error });
  });
  const [link] = JSON.parse(text) as { master?: string; mtu: number; flags: string[] }[];
  const { master = null, mtu, flags } = link!;
  return { tap, netns, master, mtu, up: flags.includes('UP') };
};

/**
 * Brings the guest's devices together where QEMU is started: it opens those of one namespace, and keeps them open
 * wherever they are moved.
 * @returns puts them back into their networks; to be called once QEMU has opened them, or has failed
 */
export const gatherTaps = async (guest: GuestDefinition): Promise<() => Promise<void>> => {
  const home = homeOf(guest);
  const devices = await Promise.all(guest.nics.map(({ tap, netns }) => find(tap, netns)));
  const away = devices.filter(({ netns }) => netns !== home);
  if (away.length === 0) return async () => {};
  if (home === null || away.some(({ netns }) => netns === null))
    throw new HypervisorError('unsupported', 'some network devices of the guest are in no network namespace');
  const moved: Device[] = [];
  const putBack = async () => {
    for (const { tap, netns, master, mtu, up } of moved.splice(0)) {
      await run('ip', [...inside(home), 'link', 'set', 'dev', tap, 'netns', netns!]);
      const bridge = master === null ? [] : ['master', master];
      await run('ip', [...inside(netns), 'link', 'set', 'dev', tap, 'mtu', `${mtu}`, ...bridge, up ? 'up' : 'down']);
    }
  };
  try {
    for (const device of away) {
      // One that a start which was cut off has left there; nothing has it open.
      await run('ip', [...inside(home), 'link', 'delete', 'dev', device.tap]).catch(() => undefined);
      await run('ip', [...inside(device.netns), 'link', 'set', 'dev', device.tap, 'netns', home]);
      moved.push(device);
    }
  } catch (error) {
    await putBack();
    throw error;
  }
  return putBack;
};
