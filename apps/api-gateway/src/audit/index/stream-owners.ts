import type { EventStore } from '@omnivisor/eventsourcing';
import { LRUCache } from 'lru-cache';
import { namedProject } from './index-entry.js';

const MAX_KNOWN = 20_000;

/** The project that the first event of a stream names: it never changes, so that it is looked up once. */
export class StreamOwners {
  private readonly known = new LRUCache<string, { readonly owner: string | null }>({ max: MAX_KNOWN });

  constructor(private readonly store: Pick<EventStore, 'readStream'>) {}

  async of(stream: string): Promise<string | null> {
    const known = this.known.get(stream);
    if (known) return known.owner;
    const [first] = await this.store.readStream(stream);
    const owner = (first && namedProject(first.data)) ?? null;
    // A stream that is not there yet may still come.
    if (first) this.learn(stream, owner);
    return owner;
  }

  /** What the first event of a stream says. */
  learn(stream: string, owner: string | null): void {
    this.known.set(stream, { owner });
  }
}
