import { createHash, type Hash } from 'node:crypto';

/** Digests that manifests are written with; OVF 2 names the first two, ovftool can write the third. */
const ALGORITHMS = ['sha1', 'sha256', 'sha512'] as const;
type Algorithm = (typeof ALGORITHMS)[number];

interface Line {
  readonly algorithm: Algorithm;
  readonly name: string;
  readonly digest: string;
}

/** `SHA256(disk (2).vmdk)= 12ab…`, with spaces where somebody likes them. Null for what is no such line. */
const lineOf = (text: string): Line | null => {
  const [, kind, name, digest] = /^(SHA-?\d+)\s*\((.+)\)\s*=\s*([0-9a-f]+)$/i.exec(text) ?? [];
  const algorithm = ALGORITHMS.find((known) => known === kind?.toLowerCase().replace('-', ''));
  return algorithm ? { algorithm, name: name!, digest: digest!.toLowerCase() } : null;
};

/** What a manifest says of an archive, and what was seen of it. The manifest may come before the files or after them. */
export class OvaManifest {
  private lines: readonly (Line | null)[] | null = null;
  private readonly seen = new Map<string, ReadonlyMap<Algorithm, string>>();
  private hashes: ReadonlyMap<Algorithm, Hash> = new Map();

  /** The manifest itself. */
  read(text: string): void {
    const lines = text.replace(/^\uFEFF/, '').split('\n');
    this.lines = lines
      .map((line) => line.trim())
      .filter((line) => line !== '')
      .map(lineOf);
  }

  /** The next file begins. */
  begin(name: string): void {
    const asked = this.lines?.filter((line) => line?.name === name).map((line) => line!.algorithm) ?? ALGORITHMS;
    this.hashes = new Map(asked.map((algorithm) => [algorithm, createHash(algorithm)]));
  }

  take(part: Buffer): void {
    for (const hash of this.hashes.values()) hash.update(part);
  }

  /** The file that began is whole. */
  end(name: string): void {
    this.seen.set(name, new Map([...this.hashes].map(([algorithm, hash]) => [algorithm, hash.digest('hex')])));
  }

  problem(): string | null {
    for (const line of this.lines ?? []) {
      if (line === null) return 'its manifest is not valid';
      const digests = this.seen.get(line.name);
      if (!digests) return 'its manifest names what is not in the archive';
      if (digests.get(line.algorithm) !== line.digest)
        return 'its manifest has another digest of a file than the file has';
    }
    return null;
  }
}
