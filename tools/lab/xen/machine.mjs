import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Refused } from '../../services/process.mjs';

/** Milliseconds: every instruction of Xen and its dom0 is emulated, which takes a minute or two beside other work. */
const BOOT_LIMIT = 300_000;
/** Now and then, dom0 hangs when it begins: threads of one processor for each of the machine's are not emulated without fault. */
const ATTEMPTS = 3;
const LOOK_AGAIN = 500;

const freePort = () =>
  new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
      server.close(() => resolve(port));
    });
  });

const toStorage = (port) => `,guestfwd=tcp:10.0.2.100:2049-cmd:socat - TCP:127.0.0.1:${port}`;

/**
 * Xen with its dom0 in QEMU, reached by ssh on 127.0.0.1; what is written to its disk is lost at the end.
 * @param {import('./dom0.mjs').Dom0} dom0
 * @param {{ memory?: number, cpus?: number, share?: string, nfs?: number }} size MiB; a folder that dom0 can mount as
 *   `shared`; a port of 127.0.0.1 that dom0 finds at 10.0.2.100:2049
 * @param {(text: string) => void} say of each time that it does not come up, but the last
 * @throws Refused when it does not come up
 */
export const boot = async (dom0, size, say) => {
  for (let attempt = 1; ; attempt += 1)
    try {
      return await bootOnce(dom0, size);
    } catch (error) {
      if (!(error instanceof Refused) || attempt === ATTEMPTS) throw error;
      say(`${error.message}\nonce more`);
    }
};

const bootOnce = async (dom0, { memory = 3000, cpus = 2, share, nfs }) => {
  const folder = mkdtempSync(join(tmpdir(), 'omnivisor-xen-lab-'));
  const [port, console] = [await freePort(), join(folder, 'console.log')];
  const knownHosts = join(folder, 'known_hosts');
  writeFileSync(knownHosts, `[127.0.0.1]:${port} ${readFileSync(dom0.hostKey, 'utf8')}`);
  writeFileSync(console, '');
  const xen = `console=com1 com1=115200,8n1 dom0_mem=1024M,max:1024M dom0_max_vcpus=${cpus} loglvl=warning guest_loglvl=warning noreboot spec-ctrl=no xpti=no`;
  const linux = 'root=/dev/vda rw console=hvc0 init=/sbin/lab-init net.ifnames=0 mitigations=off quiet loglevel=4';
  const child = spawn(
    'qemu-system-x86_64',
    [
      // With SMAP, Xen cannot start a paravirtual dom0 under QEMU 7.2; with XSAVE, programs of dom0 die now and then.
      ...['-accel', 'tcg,thread=multi,tb-size=512', '-M', 'pc', '-cpu', 'max,-smap,-xsave', '-m', String(memory)],
      ...['-smp', String(cpus), '-nodefaults', '-no-user-config', '-display', 'none', '-serial', `file:${console}`],
      ...['-kernel', dom0.xen, '-append', xen, '-initrd', `${dom0.kernel} ${linux},${dom0.initrd}`],
      ...['-drive', `file=${dom0.disk},format=raw,if=virtio,snapshot=on,cache=unsafe`],
      ...['-netdev', `user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:${port}-10.0.2.9:22${nfs ? toStorage(nfs) : ''}`],
      ...['-device', 'virtio-net-pci,netdev=n0,romfile='],
      ...(share ? ['-virtfs', `local,path=${share},mount_tag=shared,security_model=none`] : []),
    ],
    { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, TMPDIR: folder } },
  );
  let said = '';
  child.stderr.on('data', (text) => {
    said += text;
  });
  const ended = new Promise((resolve) => child.once('close', resolve).once('error', resolve));
  let isOver = false;
  void ended.then(() => {
    isOver = true;
  });
  const close = async () => {
    child.kill('SIGKILL');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  const deadline = Date.now() + BOOT_LIMIT;
  for (;;) {
    const text = readFileSync(console, 'latin1');
    const [, version] = /(Xen version \S+)/.exec(text) ?? [];
    const [ready] = /dom0: control_d .*ready after \S+ s/.exec(text) ?? [];
    if (ready) return { port, knownHosts, console, key: dom0.key, version, ready, close };
    if (isOver || Date.now() > deadline) {
      await close();
      throw new Refused(`Xen did not come up: ${said.trim() || text.slice(-1500)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN));
  }
};
