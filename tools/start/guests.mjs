import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { adminClient } from './client.mjs';
import { ROOT } from './options.mjs';
import { beganAt, endAll, isAlive } from './processes.mjs';

/** Guests of this cloud on this machine: QEMU processes that carry its mark. @param {string} home */
export const guestProcesses = (home) => {
  const file = join(home, 'data', 'secrets', 'cloud-id');
  if (!existsSync(file)) return [];
  const mark = `guest=${readFileSync(file, 'utf8').trim()}/`;
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const [program = '', ...args] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        const ours = basename(program).startsWith('qemu-system-') && args.some((arg) => arg.startsWith(mark));
        return ours ? [{ pid: Number(pid), began: beganAt(Number(pid)) }] : [];
      } catch {
        return []; // ended meanwhile
      }
    });
};

/** Takes away what networks left on this machine; the next start makes them anew. Only root can have made any. */
export const removeNetworks = async (home, say) => {
  const id = join(home, 'data', 'secrets', 'cloud-id');
  if (process.getuid?.() !== 0 || !existsSync(id)) return;
  const { LinuxNetworkPlug } = await import(`${ROOT}/apps/compute-agent/dist/network/index.js`);
  const cloudId = readFileSync(id, 'utf8').trim();
  if (await LinuxNetworkPlug.removeNetworks({ cloudId })) say('removed the networks');
};

/** Asks the API to stop every server, so that the log knows; then ends what is left. */
export const powerOffGuests = async (home, state, say) => {
  if (state && isAlive(state.supervisor)) {
    const client = await adminClient(home);
    const { servers } = await client.get('compute', '/servers/detail?all_tenants=1');
    const running = servers.filter((s) => s.status === 'ACTIVE' || s.status === 'PAUSED');
    say(`powering off ${running.length} servers`);
    for (const server of running) await client.post('compute', `/servers/${server.id}/action`, { 'os-stop': null });
    await client.until('servers to be off', 90_000, async () => {
      const now = (await client.get('compute', '/servers/detail?all_tenants=1')).servers;
      return now.every((s) => s['OS-EXT-STS:power_state'] !== 1);
    });
  }
  const left = guestProcesses(home);
  if (left.length > 0) {
    say(`ending ${left.length} guests that the control plane does not answer for`);
    await endAll(left, 10_000);
  }
};
