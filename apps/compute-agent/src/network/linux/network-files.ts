import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { linkLocal } from '../../drivers/common/nft/anti-spoofing.js';
import type { NetworkPlan, PortPlug } from '../network-plug.js';
import type { Names } from './names.js';

/** A plugged port, as all agents of the machine find it. */
export interface PortFile {
  readonly plug: PortPlug;
  /** Whose port it is. */
  readonly serverId: string;
  /** The address that its guest makes of the MAC. */
  readonly linkLocal: string;
  readonly tap: string;
  /** Socket of the agent that plugged it. */
  readonly agent: string;
}

/** @returns null when there is no such file */
export const read = (path: string): Promise<string | null> => readFile(path, 'utf8').catch(() => null);

/** Replaces a file in one step. @returns whether its text is another now */
export const store = async (path: string, text: string): Promise<boolean> => {
  if ((await read(path)) === text) return false;
  await writeFile(`${path}.new`, text, { mode: 0o644 });
  await rename(`${path}.new`, path);
  return true;
};

/**
 * What the agents of a machine tell each other of its networks: a folder for each, with its plan, its ports, and what
 * its processes are started with. To be changed under the network's lock.
 */
export class NetworkFiles {
  constructor(private readonly names: Names) {}

  async prepare(networkId: string): Promise<string> {
    const folder = this.names.networkDirectory(networkId);
    await mkdir(join(folder, 'ports'), { recursive: true, mode: 0o755 });
    return folder;
  }

  async networks(): Promise<string[]> {
    const entries = await readdir(this.names.directory, { withFileTypes: true }).catch(() => []);
    return entries.filter((e) => e.isDirectory()).map((e) => e.name);
  }

  async plan(networkId: string): Promise<NetworkPlan | null> {
    const text = await read(join(this.names.networkDirectory(networkId), 'plan.json'));
    return text === null ? null : (JSON.parse(text) as NetworkPlan);
  }

  /** The port that was plugged or changed last comes last. */
  async ports(networkId: string): Promise<PortFile[]> {
    const folder = join(this.names.networkDirectory(networkId), 'ports');
    const found: { readonly at: number; readonly file: PortFile }[] = [];
    for (const name of (await readdir(folder).catch(() => [])).sort()) {
      if (!name.endsWith('.json')) continue;
      const path = join(folder, name);
      const text = await read(path);
      if (text !== null) found.push({ at: (await stat(path)).mtimeMs, file: JSON.parse(text) as PortFile });
    }
    return found.sort((a, b) => a.at - b.at).map(({ file }) => file);
  }

  /** The port as this agent has plugged it. */
  async own(networkId: string, portId: string, agent: string): Promise<PortFile | undefined> {
    const text = await read((await this.placeOf(networkId, portId, agent)).path);
    const file = text === null ? undefined : (JSON.parse(text) as PortFile);
    return file?.agent === agent ? file : undefined;
  }

  /** Where an agent keeps a port, and its device: beside those of another agent that has the same port. */
  private async placeOf(networkId: string, portId: string, agent: string) {
    const first = { path: this.names.portFile(networkId, portId), tap: this.names.tap(portId) };
    const second = {
      path: this.names.secondPortFile(networkId, portId, agent),
      tap: this.names.secondTap(portId, agent),
    };
    if ((await read(second.path)) !== null) return second;
    const text = await read(first.path);
    return text === null || (JSON.parse(text) as PortFile).agent === agent ? first : second;
  }

  /**
   * Writes a port down, and that the filter does not know of it yet.
   * @returns puts things back as they were; null when nothing changes
   */
  async storePort(plug: PortPlug, serverId: string, agent: string): Promise<(() => Promise<void>) | null> {
    const { networkId, portId, mac } = plug;
    const { path, tap } = await this.placeOf(networkId, portId, agent);
    const file: PortFile = { plug, serverId, linkLocal: linkLocal(mac), tap, agent };
    const [before, text] = [await read(path), JSON.stringify(file)];
    if (before === text) return null;
    await this.setFiltered(networkId, false);
    await store(path, text);
    return async () => {
      if (before === null) await rm(path, { force: true });
      else await store(path, before);
    };
  }

  async removePort(networkId: string, portId: string, agent: string): Promise<void> {
    await this.setFiltered(networkId, false);
    await rm((await this.placeOf(networkId, portId, agent)).path, { force: true });
  }

  /** True when the filter in force is that of these files: also after an agent was cut off in between. */
  async isFiltered(networkId: string): Promise<boolean> {
    return (await read(this.staleFile(networkId))) === null;
  }

  async setFiltered(networkId: string, filtered: boolean): Promise<void> {
    const path = this.staleFile(networkId);
    await (filtered ? rm(path, { force: true }) : writeFile(path, ''));
  }

  private staleFile(networkId: string): string {
    return join(this.names.networkDirectory(networkId), 'filter.stale');
  }
}
