import { createHash } from 'node:crypto';
import { createReadStream, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import type { ServerId } from '@omnivisor/contracts';
import { recordDisks } from '../../../../../../tools/doubles/hyperv/disks/record-disks.mjs';
import { HyperVHost } from '../../../../../../tools/doubles/hyperv/host.mjs';
import { insideRecord } from '../../../../../../tools/doubles/hyperv/machines/record-machines.mjs';
import { Session } from '../../../../../../tools/doubles/hyperv/session.mjs';
import type { DiskFormat, ImageSource } from '../../hypervisor-driver.js';
import type { OpenProcess } from '../host-channel.js';
import { isChange } from './mortal-processes.js';

export const ROOT = 'C:\\ProgramData\\Omnivisor';

const changesIn = (bytes: Buffer): number =>
  bytes
    .toString()
    .split('\n')
    .filter((line) => line !== '' && isChange(line)).length;

/** Runs of the host script in this very process; all of them can be cut at once, as when an agent dies. */
export class InProcess {
  private readonly running = new Set<() => void>();
  private cutOff = false;
  /** Changes until the cut. */
  private left = Number.POSITIVE_INFINITY;

  constructor(private readonly host: HyperVHost) {}

  readonly open: OpenProcess = () => {
    const [input, output] = [new PassThrough(), new PassThrough()];
    let over = () => {};
    const ended = new Promise<string>((resolve) => {
      over = () => resolve('');
    });
    const end = () => {
      this.running.delete(end);
      // The script ends with its input.
      input.end();
      output.destroy();
      over();
    };
    this.running.add(end);
    output.once('end', end);
    if (this.cutOff) end();
    else {
      new Session(this.host, input, output);
      input.on('data', (bytes: Buffer) => this.count(changesIn(bytes)));
    }
    return { input, output, ended, kill: end };
  };

  /** When so many changes have begun: the last of them goes to its end unheard. */
  cutAfter(changes: number): void {
    this.left = changes;
  }

  private count(changes: number): void {
    this.left -= changes;
    if (this.left <= 0) this.cut();
  }

  cut(): void {
    this.cutOff = true;
    for (const end of [...this.running]) end();
  }

  join(): void {
    this.cutOff = false;
  }
}

/** The image service, as far as a host sees it: files by their URL. */
export class Images {
  readonly folder = mkdtempSync(join(tmpdir(), 'hyperv-images-'));
  private readonly server: Server;
  private port = 0;
  private address = '127.0.0.1';
  private made = 0;

  constructor() {
    this.server = createServer((request, response) => {
      const file = decodeURIComponent(request.url!.slice(1));
      if (!existsSync(file)) response.writeHead(404).end();
      else createReadStream(file).pipe(response);
    });
  }

  async open(address = '127.0.0.1', port = 0): Promise<this> {
    this.address = address;
    await new Promise<void>((resolve) => this.server.listen(port, address, resolve));
    this.port = (this.server.address() as AddressInfo).port;
    return this;
  }

  source(file: string, format: DiskFormat): ImageSource {
    return {
      format,
      path: async () => file,
      url: `http://${this.address}:${this.port}/${encodeURIComponent(file)}`,
      digest: async () => ({
        sha256: createHash('sha256').update(readFileSync(file)).digest('hex'),
        size: statSync(file).size,
      }),
    };
  }

  /** A record of a disk. */
  record(size: number, format: 'vhd' | 'vhdx' = 'vhdx'): ImageSource {
    const file = join(this.folder, `image-${++this.made}.${format}`);
    recordDisks.create(file, { format: format.toUpperCase(), type: 'Dynamic', size });
    return this.source(file, format);
  }

  close(): void {
    this.server.closeAllConnections();
    this.server.close();
    rmSync(this.folder, { recursive: true });
  }
}

export const machineOf = (host: HyperVHost, id: ServerId) =>
  // biome-ignore lint/suspicious/noExplicitAny: the double keeps plain records
  [...host.vms.values()].find((vm: any) => vm.Name === id || vm.Notes.includes(id));

export const adapterOf = (host: HyperVHost, id: ServerId, portId: string) =>
  machineOf(host, id).adapters.find(({ name }: { name: string }) => name === portId);

export const inside = (host: HyperVHost, id: ServerId) => insideRecord(host, machineOf(host, id));

/** Machine, files and marks of a server on the host. */
export const leftovers = (host: HyperVHost, id: ServerId): string[] => {
  const marks = host.local(`${ROOT}\\marks\\${host.facts.name}`);
  const files = existsSync(marks) ? readdirSync(marks).filter((name) => name.startsWith(id)) : [];
  const machine = machineOf(host, id);
  return [
    ...(machine ? [`machine ${machine.Name}`] : []),
    ...(existsSync(host.local(`${ROOT}\\guests\\${id}`)) ? ['folder'] : []),
    ...files,
  ];
};
