import { OvaManifest } from './ova-manifest.js';
import { isZero, padded, readTarHeader, TAR_BLOCK, type TarEntry } from './tar.js';

const MAX_ENTRIES = 64;
const MAX_TEXT = 1024 * 1024;

const isManifest = (name: string) => /\.mf$/i.test(name);

/** What a disk inside is looked at with. */
export interface DiskInspector {
  feed(chunk: Buffer): string | null;
  end(): { readonly virtualSize: number | null; readonly refusal: string | null };
}

/** What an OVA holds. */
export interface OvaContents {
  readonly disks: readonly (TarEntry & { readonly virtualSize: number | null })[];
}

const decoded = (href: string): string => {
  try {
    return decodeURIComponent(href);
  } catch {
    return href;
  }
};

/**
 * Looks at an OVA while it streams by: a tar with an OVF descriptor first, disks that hold their own data, nothing that
 * the descriptor takes from elsewhere, and files as a manifest has them, when there is one.
 */
export class OvaInspector {
  private readonly names = new Set<string>();
  private readonly disks: (TarEntry & { virtualSize: number | null })[] = [];
  private readonly manifest = new OvaManifest();
  /** Descriptor and manifest. */
  private readonly texts = new Map<string, Buffer[]>();
  private block = Buffer.alloc(0);
  private entry: TarEntry | null = null;
  private left = 0;
  private padding = 0;
  private inner: DiskInspector | null = null;
  private at = 0;
  private ended = false;
  private problem: string | null = null;

  constructor(private readonly diskInspector: () => DiskInspector) {}

  get contents(): OvaContents {
    return { disks: this.disks };
  }

  /** @returns why it is refused, as soon as that is certain */
  feed(chunk: Buffer): string | null {
    let rest = chunk;
    while (rest.length > 0 && this.problem === null && !this.ended) {
      const used = this.entry ? this.body(rest) : this.header(rest);
      rest = rest.subarray(used);
    }
    this.at += rest.length;
    return this.problem;
  }

  end(): string | null {
    if (this.problem !== null) return this.problem;
    if (!this.ended && (this.entry !== null || this.block.length > 0)) return 'its archive is cut off';
    if (this.disks.length === 0) return 'it is no archive with an OVF descriptor and a VMDK';
    return this.descriptorProblem() ?? this.manifest.problem();
  }

  private header(chunk: Buffer): number {
    const part = chunk.subarray(0, TAR_BLOCK - this.block.length);
    this.block = Buffer.concat([this.block, part]);
    this.at += part.length;
    if (this.block.length < TAR_BLOCK) return part.length;
    const block = this.block;
    this.block = Buffer.alloc(0);
    if (isZero(block)) this.ended = true;
    else this.open(readTarHeader(block, this.at - TAR_BLOCK));
    return part.length;
  }

  private open(entry: TarEntry | string): void {
    this.problem = typeof entry === 'string' ? entry : this.entryProblem(entry);
    if (this.problem !== null || typeof entry === 'string') return;
    this.names.add(entry.name);
    this.left = entry.size;
    this.padding = padded(entry.size) - entry.size;
    this.inner = /\.vmdk$/i.test(entry.name) ? this.diskInspector() : null;
    if (this.names.size === 1 || isManifest(entry.name)) this.texts.set(entry.name, []);
    this.manifest.begin(entry.name);
    this.entry = entry;
    if (entry.size === 0) this.close();
  }

  private entryProblem({ name, size }: TarEntry): string | null {
    const isDescriptor = /\.ovf$/i.test(name);
    if (isDescriptor !== (this.names.size === 0)) return 'its archive must begin with its one OVF descriptor';
    if (isDescriptor && size > MAX_TEXT) return 'its OVF descriptor is too large';
    if (isManifest(name) && size > MAX_TEXT) return 'its manifest is too large';
    if (isManifest(name) && [...this.names].some(isManifest)) return 'its archive has two manifests';
    if (this.names.has(name)) return 'its archive has two entries of one name';
    return this.names.size >= MAX_ENTRIES ? 'its archive has too many entries' : null;
  }

  private body(chunk: Buffer): number {
    const part = chunk.subarray(0, this.left);
    if (part.length > 0) {
      this.left -= part.length;
      this.texts.get(this.entry!.name)?.push(Buffer.from(part));
      this.manifest.take(part);
      const refusal = this.inner?.feed(part) ?? null;
      if (refusal !== null) this.problem = refusal;
    }
    const skipped = this.left === 0 ? Math.min(this.padding, chunk.length - part.length) : 0;
    this.padding -= skipped;
    this.at += part.length + skipped;
    if (this.left === 0 && this.padding === 0) this.close();
    return part.length + skipped;
  }

  private close(): void {
    const { inner, entry } = this;
    if (inner && entry) {
      const { refusal, virtualSize } = inner.end();
      if (refusal !== null) this.problem = refusal;
      this.disks.push({ ...entry, virtualSize });
    }
    if (entry) {
      this.manifest.end(entry.name);
      if (isManifest(entry.name)) this.manifest.read(this.textOf(entry.name));
    }
    this.entry = null;
    this.inner = null;
  }

  private textOf(name: string): string {
    return Buffer.concat(this.texts.get(name) ?? []).toString('utf8');
  }

  /** A descriptor may name files of its archive and nothing else. */
  private descriptorProblem(): string | null {
    const [ovf] = this.names;
    const xml = this.textOf(ovf!);
    if (!/<(?:\w+:)?Envelope[\s>]/.test(xml)) return 'its OVF descriptor is not valid';
    if (/<!DOCTYPE|<!ENTITY/i.test(xml)) return 'its OVF descriptor declares entities';
    for (const [, , name] of xml.matchAll(/\b(?:\w+:)?href\s*=\s*(["'])(.*?)\1/g))
      if (!this.names.has(name!) && !this.names.has(decoded(name!)))
        return 'its OVF descriptor refers to what is not in the archive';
    return null;
  }
}
