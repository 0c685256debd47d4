import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DriverUnderTest, Level } from './driver-under-test.js';
import { isFeature, PROOFS, type Proof } from './proof.js';

interface ProofResult {
  readonly level: Level;
  readonly passed: readonly string[];
  /** Behaviour and what was missing to try it. */
  readonly skipped: Readonly<Record<string, string>>;
}

/** What one run of the suite has shown; `docs/support-matrix.md` is made of these and of nothing else. */
export interface SuiteResults {
  readonly backend: string;
  readonly command: string;
  /** What the levels leave open. */
  readonly remarks?: readonly string[];
  readonly proofs: Readonly<Partial<Record<Proof, ProofResult>>>;
}

const folder = fileURLToPath(new URL('./generated/', import.meta.url));

export class Results {
  private readonly passed = new Map<Proof, string[]>();
  private readonly skipped = new Map<Proof, Map<string, string>>();

  constructor(private readonly under: DriverUnderTest) {}

  pass(proof: Proof, behaviour: string): void {
    this.passed.set(proof, [...(this.passed.get(proof) ?? []), behaviour]);
  }

  skip(proof: Proof, behaviour: string, why: string): void {
    this.skipped.set(proof, (this.skipped.get(proof) ?? new Map<string, string>()).set(behaviour, why));
  }

  get fresh(): SuiteResults {
    const { backend, level, levels = {}, command = 'npm test', supports, remarks } = this.under;
    const proven = PROOFS.filter((proof) => !isFeature(proof) || supports.includes(proof)).map((proof) => [
      proof,
      {
        level: levels[proof] ?? level,
        passed: [...(this.passed.get(proof) ?? [])].sort(),
        skipped: Object.fromEntries([...(this.skipped.get(proof) ?? [])].sort()),
      },
    ]);
    return { backend, command, ...(remarks ? { remarks } : {}), proofs: Object.fromEntries(proven) };
  }

  get path(): string {
    return join(folder, `${this.under.backend}.json`);
  }

  committed(): SuiteResults | null {
    return existsSync(this.path) ? JSON.parse(readFileSync(this.path, 'utf8')) : null;
  }

  write(): void {
    mkdirSync(dirname(this.path), { recursive: true });
    writeFileSync(this.path, `${JSON.stringify(this.fresh, null, 2)}\n`);
  }
}

/**
 * Where a fresh run and the committed results disagree.
 * @param incomplete the host of this run lacks what the committed one had: what was skipped for that is not lost
 */
export const compare = (committed: SuiteResults | null, fresh: SuiteResults, incomplete: boolean): string[] => {
  if (!committed) return ['there are no committed results'];
  const differences: string[] = [];
  if (committed.command !== fresh.command) differences.push(`made by ${committed.command}, not ${fresh.command}`);
  for (const proof of PROOFS) {
    const [before, now] = [committed.proofs[proof], fresh.proofs[proof]];
    if (!before !== !now) differences.push(`${proof}: ${before ? 'not supported any more' : 'supported now'}`);
    if (!before || !now) continue;
    if (before.level !== now.level) differences.push(`${proof}: level ${now.level}, committed ${before.level}`);
    for (const behaviour of before.passed)
      if (!now.passed.includes(behaviour) && !(incomplete && now.skipped[behaviour] !== undefined))
        differences.push(`${proof}: "${behaviour}" did not pass`);
    for (const behaviour of now.passed)
      if (!before.passed.includes(behaviour))
        differences.push(`${proof}: "${behaviour}" is not in the committed results`);
    for (const behaviour of Object.keys(before.skipped))
      if (now.skipped[behaviour] === undefined && !now.passed.includes(behaviour))
        differences.push(`${proof}: "${behaviour}" is no behaviour any more`);
  }
  return differences;
};
