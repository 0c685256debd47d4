import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { mib, type ServerId } from '@omnivisor/contracts';
import { fileSource, rootFrom, tapNic, testGuest } from '../../common/test-guest.js';
import { connectUnix } from '../../common/unix-socket.js';
import type { LinuxGuest } from '../../conformance/index.js';
import type { GuestNic, GuestSpec } from '../../hypervisor-driver.js';
import { CLOUD } from './tiny-guests.js';

const builder = fileURLToPath(new URL('../../../../../../tools/image/image.mjs', import.meta.url));
const execute = promisify(execFile);

/** The test image, built when it is not there yet. */
export const testImage = async (): Promise<string> => {
  const cache = join(tmpdir(), 'omnivisor-test-image');
  return (await execute('node', [builder, '--cache', cache])).stdout.trim();
};

/** A namespace with a device for a guest's network interface, and a DHCP server on it; needs root. */
export class GuestNetwork {
  private constructor(
    readonly nic: GuestNic,
    private readonly dhcp: ChildProcess,
    private readonly folder: string,
  ) {}

  static async open(netns: string, tap: string, mac: string): Promise<GuestNetwork> {
    const inside = (...args: string[]) => execute('ip', ['netns', 'exec', netns, ...args]);
    await inside('ip', 'tuntap', 'add', 'dev', tap, 'mode', 'tap');
    await inside('ip', 'addr', 'add', '10.77.0.1/24', 'dev', tap);
    await inside('ip', 'link', 'set', tap, 'up');
    const folder = mkdtempSync(join(tmpdir(), 'omnivisor-dhcp-'));
    writeFileSync(join(folder, 'leases'), '');
    const dhcp = spawn('ip', [
      ...['netns', 'exec', netns, 'dnsmasq', '--user=root', '--pid-file', '--keep-in-foreground', '--port=0'],
      ...['--no-ping', '--bind-interfaces', `--interface=${tap}`, '--conf-file=/dev/null'],
      ...['--dhcp-range=10.77.0.10,10.77.0.20,1h', `--dhcp-leasefile=${join(folder, 'leases')}`],
    ]);
    const nic = tapNic('linux-port', tap, { mac, attachment: { kind: 'tap', tap, netns } });
    return new GuestNetwork(nic, dhcp, folder);
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.dhcp.once('exit', resolve));
    this.dhcp.kill();
    await ended;
    rmSync(this.folder, { recursive: true });
  }
}

const SHELL_PATIENCE = 20_000;
const BOOT_PATIENCE = 120_000;

/** The test image under QEMU, with a root shell on its serial port. */
export const linuxOn = (stateDir: string, image: () => Promise<string>, nics: readonly GuestNic[]): LinuxGuest => {
  const file = (id: ServerId, name: string) => join(stateDir, 'guests', id, name);
  return {
    spec: async (id): Promise<GuestSpec> => {
      const small = testGuest(id, CLOUD, { disks: rootFrom(fileSource(await image(), 'qcow2')), nics });
      const metadata = JSON.stringify({ uuid: id, hostname: 'conformance' });
      return {
        ...small,
        flavor: { ...small.flavor, memory: mib(192) },
        image: { ...small.image, properties: { hw_qemu_guest_agent: 'yes' } },
        configDrive: new Map([['openstack/latest/meta_data.json', Buffer.from(metadata)]]),
      };
    },
    up: async (id) => {
      const deadline = Date.now() + BOOT_PATIENCE;
      // What is typed before the prompt is lost.
      const isUp = () => /finished: Datasource [\s\S]*~ # /.test(readFileSync(file(id, 'console.log'), 'latin1'));
      while (!isUp()) {
        if (Date.now() > deadline) throw new Error('the guest has not booted');
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
    run: async (id, command) => {
      const serial = await connectUnix(file(id, 'serial.sock'));
      try {
        return await new Promise<string>((resolve, reject) => {
          const timer = setTimeout(() => reject(new Error(`no end of ${command} in ${text}`)), SHELL_PATIENCE);
          let text = '';
          serial.on('data', (bytes: Buffer) => {
            text += bytes.toString('latin1');
            // The shell echoes what it is told, with the quotes in it.
            const answer = /began here\r\n([\s\S]*)ended here/.exec(text);
            if (!answer) return;
            clearTimeout(timer);
            resolve(answer[1]!);
          });
          serial.on('error', reject);
          serial.write(`\necho began' 'here; ${command}; echo ended' 'here\n`);
        });
      } finally {
        serial.destroy();
      }
    },
  };
};
