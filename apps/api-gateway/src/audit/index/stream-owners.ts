import type { EventStore } from '@omnivisor/eventsourcing';
import { LRUCache } from 'lru-cache';

const MAX_KNOWN = 20_000;

/** The project that the data of an event names; undefined when it names none. */
export const namedProject = (data: unknown): string | null | undefined => {
  const { projectId, attributes } = data as { projectId?: unknown; attributes?: { owner?: unknown } };
  if (typeof projectId === 'string') return projectId;
  return typeof attributes?.owner === 'string' ? attributes.owner : undefined;
};

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
