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

/** Milliseconds that guests get to shut down by themselves, and their agents to say so. */
const PATIENCE = 90_000;

/** Servers whose guests run on hosts that answer. */
const runningServers = async (client) =>
  (await client.get('compute', '/servers/detail?all_tenants=1')).servers.filter(
    (server) => ['ACTIVE', 'PAUSED'].includes(server.status) && ['UP', 'MAINTENANCE'].includes(server.host_status),
  );

/** Asks the API to stop every server that can be, so that the log knows; what cannot be is said. */
const stopServers = async (home, say) => {
  const client = await adminClient(home);
  const running = await runningServers(client);
  say(`powering off ${running.length} servers`);
  const asked = new Set();
  for (const { id, name } of running)
    await client.post('compute', `/servers/${id}/action`, { 'os-stop': null }).then(
      () => asked.add(id),
      (error) => say(`server ${name} (${id}): ${error.message}`),
    );
  await client.until('servers to be off', PATIENCE, async () =>
    (await runningServers(client)).every(({ id }) => !asked.has(id)),
  );
};

/** Powers off the servers, then ends the guests of this machine that are left. */
export const powerOffGuests = async (home, state, say) => {
  if (state && isAlive(state.supervisor))
    await stopServers(home, say).catch((error) => say(`the control plane did not power off all: ${error.message}`));
  const left = guestProcesses(home);
  if (left.length > 0) {
    say(`ending ${left.length} guests that the control plane does not answer for`);
    await endAll(left, 10_000);
  }
};
