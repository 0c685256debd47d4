import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { ServerId } from '@omnivisor/contracts';
import type { HypervisorDriver } from '../../hypervisor-driver.js';
import { deviceOf, tableOf } from '../guard.js';
import { LocalShell } from '../host-shell.js';
import { MortalShell } from './mortal-shell.js';

const bin = fileURLToPath(new URL('../../../../../../tools/doubles/xl/bin/', import.meta.url));
const execute = promisify(execFile);

/** A dom0 whose `xl` is the double of tools/doubles/xl. */
export class XlDouble {
  readonly folder = mkdtempSync(join(tmpdir(), 'omnivisor-xl-'));
  readonly root = join(this.folder, 'root');
  private readonly state = join(this.folder, 'state');
  private readonly logs = join(this.folder, 'log');
  private readonly bridging = join(this.folder, 'bridging');
  private readonly consoles: ChildProcess;

  /** @param caps what Xen says that it has; with `shadow` it sees what a guest changes in its memory */
  constructor(private readonly caps = 'pv') {
    mkdirSync(this.state);
    mkdirSync(this.logs);
    mkdirSync(this.bridging);
    writeFileSync(join(this.bridging, 'bridge-nf-call-iptables'), '0');
    mkdirSync(join(this.folder, 'net', 'xenbr0', 'bridge'), { recursive: true });
    // What the driver looks for to know whether consoles are logged.
    this.consoles = spawn(join(bin, 'xenconsoled'), ['--log=guest'], { stdio: 'ignore' });
    // Without it a probe says that consoles are not logged.
    this.consoles.on('error', () => undefined);
  }

  get environment(): Record<string, string> {
    return {
      XL_DOUBLE_STATE: this.state,
      XL_DOUBLE_OWNER: String(process.pid),
      XEN_LOG_DIR: this.logs,
      XL_DOUBLE_BRIDGES: 'xenbr0',
      XL_DOUBLE_CAPS: this.caps,
      XEN_INTERFACES: join(this.folder, 'net'),
      XEN_BACKENDS: join(this.folder, 'backends'),
      XEN_BRIDGING: this.bridging,
    };
  }

  /** The same for a server of OpenSSH, whose shells find the double by their path. */
  get setEnv(): string {
    const all = { ...this.environment, PATH: `${bin}:${process.env.PATH}` };
    return Object.entries(all)
      .map(([name, value]) => `${name}=${value}`)
      .join(' ');
  }

  /** @param first folders of tools that are found before the double's, each with a colon */
  shell(first = ''): MortalShell {
    return new MortalShell(new LocalShell({ PATH: `${first}${bin}:${process.env.PATH}`, ...this.environment }));
  }

  async xl(...args: string[]): Promise<string> {
    return (await execute(join(bin, 'xl'), args, { env: { ...process.env, ...this.environment } })).stdout;
  }

  failNext(why: string): void {
    writeFileSync(join(this.state, 'fail-next'), why);
  }

  /** A domain that is somebody else's. @param more lines of its configuration */
  async foreign(name: string, more = '') {
    const config = join(this.folder, `${name}.cfg`);
    writeFileSync(join(this.folder, 'kernel'), 'a kernel');
    writeFileSync(
      config,
      `name = "${name}"\ntype = "pv"\nmemory = 16\nkernel = "${join(this.folder, 'kernel')}"\n${more}`,
    );
    await this.xl('create', config);
    const domid = (await this.xl('domid', name)).trim();
    return {
      untouched: async () => (await this.xl('domid', name).catch(() => '')).trim() === domid,
      remove: async () => void (await this.xl('destroy', name)),
    };
  }

  /** The same with a disk, an interface and its kernel, which runs. @param second name of another disk */
  async adoptable(name: string, mac: string, second?: string) {
    const at = (file: string) => join(this.folder, file);
    const [config, disk] = [at(`${name}.cfg`), at(`${name}.raw`)];
    writeFileSync(at('kernel'), 'a kernel');
    for (const file of [disk, at(`${name}-2.raw`)]) writeFileSync(file, 'a disk');
    const settings = `name = "${name}"\ntype = "pv"\nmemory = 16\nkernel = "${at('kernel')}"\n`;
    const more = second ? `, "format=raw,vdev=${second},access=rw,target=${at(`${name}-2.raw`)}"` : '';
    const devices = `disk = ["format=raw,vdev=xvda,access=rw,target=${disk}"${more}]\nvif = ["mac=${mac},bridge=xenbr0"]\n`;
    writeFileSync(config, `${settings}${devices}`);
    await this.xl('create', config);
    const listed = async () => (await this.xl('list', '-v')).split('\n').find((line) => line.startsWith(`${name} `));
    const domid = (await this.xl('domid', name)).trim();
    return {
      nativeId: /[0-9a-f-]{36}/.exec((await listed())!)![0],
      disk,
      untouched: async () => (await this.xl('domid', name).catch(() => '')).trim() === domid,
      remove: async () => void (await this.xl('destroy', name).catch(() => undefined)),
    };
  }

  /**
   * Whether its device, by the name that it was to get, is there, up, and not shut by the filters of its guest.
   * @param foreign another name that it has, and its MAC
   */
  passes(id: ServerId, portId: string, foreign?: { readonly device: string; readonly mac: string }): boolean {
    const device = foreign?.device ?? deviceOf(portId);
    const flags = Number(readFileSync(join(this.folder, 'net', device, 'flags'), 'utf8'));
    const filter = join(this.state, 'nft', `bridge ${tableOf(id)}`);
    const rules = existsSync(filter) ? readFileSync(filter, 'utf8') : '';
    const shut = foreign
      ? rules.includes(`iifname "vif*" ether saddr ${foreign.mac} drop`) &&
        rules.includes(`oifname "vif*" ether daddr ${foreign.mac} drop`)
      : rules.includes(`name "${device}" drop`);
    return (flags & 1) === 1 && !shut;
  }

  leftovers(id: ServerId): string[] {
    const named = (folder: string) =>
      existsSync(folder) ? readdirSync(folder).filter((name) => name.includes(id)) : [];
    const domains = existsSync(join(this.state, 'domains')) ? readdirSync(join(this.state, 'domains')) : [];
    const names = domains.map((domid) => join(this.state, 'domains', domid, 'name')).filter(existsSync);
    return [
      ...[join(this.root, 'guests'), join(this.logs, 'console'), this.logs].flatMap(named),
      ...names.map((file) => readFileSync(file, 'utf8')).filter((name) => name === id),
    ];
  }

  async close(): Promise<void> {
    for (const line of (await this.xl('list')).split('\n').slice(2)) {
      const [name] = line.split(' ');
      if (name) await this.xl('destroy', name);
    }
    this.consoles.kill();
    rmSync(this.folder, { recursive: true });
  }
}

const PATIENCE = 5_000;

/** What a guest of the double answers to what is typed on its console. */
export const typed = async (driver: HypervisorDriver, id: ServerId, keys: string): Promise<string> => {
  const console = await driver.consoles!.open(id, 'serial');
  try {
    return await new Promise<string>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no answer to ${keys}`)), PATIENCE);
      let said = '';
      console.readable.on('data', (bytes: Buffer) => {
        said += bytes.toString('latin1');
        const answer = /\[(.)\]/s.exec(said);
        if (!answer) return;
        clearTimeout(late);
        resolve(answer[1]!);
      });
      console.writable.write(keys);
    });
  } finally {
    console.close();
  }
};
