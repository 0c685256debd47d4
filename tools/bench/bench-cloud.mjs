import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../services/process.mjs';
import { adminClient } from '../start/client.mjs';
import { readState } from '../start/state.mjs';
import { timed } from './measure.mjs';

/** How long a client waits between two looks at a server that is not ACTIVE yet, in milliseconds. */
const LOOK = 3;

const newHome = () => {
  const home = mkdtempSync(join(tmpdir(), 'omnivisor-bench-'));
  chmodSync(home, 0o755);
  return home;
};

/**
 * A cloud of one host with room for all, in a folder of its own, and what the bench asks of it.
 * @param {'fake' | 'qemu'} [backend]
 * @param {string} [kept] an empty folder that others can read; without one, a bench that is interrupted leaves nothing behind
 */
export const startBenchCloud = async (backend = 'fake', kept = undefined) => {
  const home = kept ?? newHome();
  const env = {
    ...{ ...process.env, OMNIVISOR_HOME: home, OMNIVISOR_LOG_LEVEL: 'warn' },
    ...{ OMNIVISOR_FAKE_VCPUS: '4096', OMNIVISOR_CPU_ALLOCATION_RATIO: '64', OMNIVISOR_DISK_ALLOCATION_RATIO: '64' },
  };
  const hosts = backend === 'qemu' ? ['--agents', '1'] : ['--agents', '0', '--fake-hosts', '1', '--skip-image'];
  const tool = (name, ...args) =>
    spawnSync(process.execPath, [fileURLToPath(new URL(`../start/${name}`, import.meta.url)), ...args], {
      env,
      encoding: 'utf8',
    });
  let over = false;
  /** @returns what went wrong, if anything */
  const stop = () => {
    if (over) return '';
    over = true;
    const { status, stderr } = tool('stop.mjs', '--guests');
    rmSync(home, { recursive: true, force: true });
    return status === 0 ? '' : stderr;
  };
  if (!kept) {
    process.once('exit', stop);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1));
  }
  try {
    const port = await freePort();
    const started = tool('start.mjs', '--detach', ...hosts, '--port', String(port));
    if (started.status !== 0) throw new Error(`the cloud did not start:\n${started.stdout}${started.stderr}`);
    const services = readState(home).services.filter((s) => s.pid !== null);
    const admin = await adminClient(home);
    const create = await prepare(admin);
    return { home, services, admin, create, stop };
  } catch (error) {
    stop();
    throw error;
  }
};

const prepare = async (admin) => {
  const { projectId } = admin;
  await admin.put('compute', `/os-quota-sets/${projectId}`, { quota_set: { instances: -1, cores: -1, ram: -1 } });
  await admin.put('network', `/quotas/${projectId}`, { quota: { port: -1 } });
  const { network } = await admin.post('network', '/networks', { network: { name: 'bench' } });
  await admin.post('network', '/subnets', { subnet: { network_id: network.id, ip_version: 4, cidr: '10.80.0.0/16' } });
  const image = await admin.post('image', '/images', { name: 'bench', disk_format: 'raw', container_format: 'bare' });
  await admin.put('image', `/images/${image.id}/file`, new Uint8Array(1024 * 1024), {
    'content-type': 'application/octet-stream',
  });
  const flavor = (await admin.get('compute', '/flavors')).flavors.find((f) => f.name === 'm1.nano');
  return async (name) => {
    const server = { name, imageRef: image.id, flavorRef: flavor.id, networks: [{ uuid: network.id }] };
    return (await admin.post('compute', '/servers', { server })).server.id;
  };
};

const statusOf = async (admin, id) => {
  const { server } = await admin.get('compute', `/servers/${id}`);
  if (server.status === 'ERROR') throw new Error(`server ${id}: ${server.fault?.message}`);
  return server.status;
};

/**
 * Milliseconds from the request for a server to the answer that it is ACTIVE, one server at a time. The client looks for
 * the first time after half of what the quickest took, so that its questions are not what is measured.
 */
export const alone = ({ admin, create }, n, name) => {
  let quickest = Number.POSITIVE_INFINITY;
  return timed(n, async (i) => {
    const from = performance.now();
    const id = await create(`${name}-${i}`);
    const wait = quickest / 2 - (performance.now() - from);
    if (Number.isFinite(wait) && wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    await admin.until(`${id} to be ACTIVE`, 60_000, async () => (await statusOf(admin, id)) === 'ACTIVE', LOOK);
    quickest = Math.min(quickest, performance.now() - from);
  });
};

/** No server is being built any more. */
export const atRest = (admin) =>
  admin.until(
    'no server in BUILD',
    300_000,
    async () => (await admin.get('compute', '/servers?status=BUILD&limit=1')).servers.length === 0,
    250,
  );
