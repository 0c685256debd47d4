import { LRUCache } from 'lru-cache';
import type { PhysicalTable } from './query.js';

/** Characters of all documents that are kept. */
const MAX_SIZE = 16 * 1024 * 1024;

/** Says what was known when a question was asked. */
export type Stamp = number;

/**
 * Documents as a replica wrote or read them, while it alone moves the checkpoint. Whoever learns that another replica
 * moved it forgets them all; so does whoever lost a connection, and with it what became of a write.
 */
export class RowCache {
  private readonly documents = new LRUCache<string, string>({
    maxSize: MAX_SIZE,
    sizeCalculation: (document, key) => document.length + key.length,
  });
  private now: Stamp = 0;

  /** Take it before asking the database for what `learn` is told of. */
  get stamp(): Stamp {
    return this.now;
  }

  get(table: PhysicalTable, key: string): string | undefined {
    return this.documents.get(nameOf(table, key));
  }

  /** An answer of the database to a question; one that may be older than a write counts for nothing. */
  learn(asked: Stamp, table: PhysicalTable, key: string, document: string): void {
    if (asked === this.now) this.documents.set(nameOf(table, key), document);
  }

  /** What this replica wrote. @param documents undefined for a row that is gone */
  wrote(written: ReadonlyMap<PhysicalTable, ReadonlyMap<string, string | undefined>>): void {
    this.now++;
    for (const [table, documents] of written)
      for (const [key, document] of documents)
        if (document === undefined) this.documents.delete(nameOf(table, key));
        else this.documents.set(nameOf(table, key), document);
  }

  clear(): void {
    this.now++;
    this.documents.clear();
  }
}

const nameOf = ({ plainName }: PhysicalTable, key: string): string => `${plainName} ${key}`;
