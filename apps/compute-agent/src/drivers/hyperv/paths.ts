import type { ServerId } from '@omnivisor/contracts';

export const CONSOLE_LOG = 'console.log';

/** Where things lie below the host script's folder. */
export class Paths {
  /** @param host whose files these are: members of a cluster share the folder and know different things of a guest */
  constructor(
    readonly root: string,
    private readonly host: string,
  ) {}

  get guests(): string {
    return `${this.root}\\guests`;
  }
  get images(): string {
    return `${this.root}\\images`;
  }
  /** What the hosts call it that have this folder. */
  get storage(): string {
    return `${this.root}\\storage`;
  }
  /** Which computer each member of a cluster is, by the name that the configuration has for it. */
  get members(): string {
    return `${this.root}\\members`;
  }
  member(name: string): string {
    return `${this.members}\\${name.toLowerCase().replace(/[^a-z0-9.-]/g, '_')}`;
  }
  get marks(): string {
    return `${this.root}\\marks\\${this.host}`;
  }
  mark(id: ServerId, stage: string): string {
    return `${this.marks}\\${id}.${stage}`;
  }
  guest(id: ServerId, ...parts: string[]): string {
    return [this.guests, id, ...parts].join('\\');
  }
  /** Named after its bytes: there once, however many guests stand on it. */
  image(sha256: string, format: 'vhd' | 'vhdx'): string {
    return `${this.images}\\${sha256.toLowerCase()}.${format}`;
  }
  consoleLog(id: ServerId): string {
    return this.guest(id, CONSOLE_LOG);
  }
}

/** The pipe of a guest's first serial port. @param id of its server, or of a probe */
export const pipeOf = (id: string): string => `\\\\.\\pipe\\omnivisor-${id}`;

export const extensionOf = (path: string): 'vhd' | 'vhdx' => (/x$/i.test(path) ? 'vhdx' : 'vhd');
