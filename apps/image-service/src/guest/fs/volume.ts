import { Unreadable } from '../disk.js';

/** What a name in a folder stands for; `id` is the file system's own number for it. */
export interface Node {
  readonly id: number;
  readonly kind: 'file' | 'folder' | 'link' | 'other';
  readonly size: number;
}

/** A file system, read only. All of it may be hostile: each method ends, and throws `Unreadable` and nothing else. */
export interface Volume {
  readonly kind: string;
  readonly root: Node;
  /** The node of a name in a folder; undefined when there is none. */
  lookup(folder: Node, name: string): Promise<Node | undefined>;
  /** Names in a folder, at most 20,000. */
  names(folder: Node): Promise<string[]>;
  /** Where a link points. */
  target(link: Node): Promise<string>;
  /** The bytes of a file in order. */
  bytes(file: Node): AsyncIterable<Buffer>;
}

export const MAX_NAMES = 20_000;
const MAX_LINKS = 16;
const MAX_DEPTH = 64;

/** Files by path, through the links of their own file system. */
export class FileTree {
  constructor(readonly volume: Volume) {}

  async find(path: string): Promise<Node | undefined> {
    const links = { left: MAX_LINKS };
    return (await this.walk([this.volume.root], path, links)).at(-1);
  }

  async names(path: string): Promise<string[]> {
    const node = await this.find(path);
    return node?.kind === 'folder' ? this.volume.names(node) : [];
  }

  async exists(path: string): Promise<boolean> {
    return (await this.find(path)) !== undefined;
  }

  /** @returns undefined when there is no such file; at most `limit` bytes */
  async read(path: string, limit: number): Promise<Buffer | undefined> {
    const node = await this.find(path);
    if (node?.kind !== 'file') return undefined;
    const parts: Buffer[] = [];
    let size = 0;
    for await (const part of this.volume.bytes(node)) {
      parts.push(part);
      size += part.length;
      if (size >= limit) break;
    }
    return Buffer.concat(parts).subarray(0, limit);
  }

  async text(path: string, limit = 64 * 1024): Promise<string | undefined> {
    return (await this.read(path, limit))?.toString('utf8');
  }

  /** The folders on the way, and the node at its end; empty when the way ends before. */
  private async walk(from: readonly Node[], path: string, links: { left: number }): Promise<Node[]> {
    let way = path.startsWith('/') ? [this.volume.root] : [...from];
    for (const part of path.split('/')) {
      if (part === '' || part === '.') continue;
      if (part === '..') {
        if (way.length > 1) way.pop();
        continue;
      }
      if (way.length > MAX_DEPTH) throw new Unreadable('its folders are too deep');
      const folder = way.at(-1)!;
      if (folder.kind !== 'folder') return [];
      const node = await this.volume.lookup(folder, part);
      if (!node) return [];
      if (node.kind !== 'link') {
        way.push(node);
        continue;
      }
      if (links.left-- <= 0) return [];
      way = await this.walk(way, await this.volume.target(node), links);
      if (way.length === 0) return [];
    }
    return way;
  }
}
