import { randomUUID } from 'node:crypto';
import type { MigrationReach } from '../hypervisor-driver.js';
import type { ReadyNode } from './node.js';

const CLUSTER_VOLUME = /^[A-Z]:\\ClusterStorage\\/i;
const ID = /^[0-9a-f-]{36}$/;

/**
 * What the folder of guests is called by all hosts that have it, and where it lies there; null when it is on a disk of this
 * host alone. The first host leaves a file of that name; of two that were there at once the lesser name counts.
 */
export const storageOf = async ({ files, paths }: ReadyNode): Promise<string | null> => {
  if (!CLUSTER_VOLUME.test(paths.root)) return null;
  const known = async () => (await files.items(paths.storage)).map(({ Name }) => Name).filter((name) => ID.test(name));
  let names = await known();
  if (names.length === 0) {
    await files.makeFolder(paths.storage);
    await files.write(`${paths.storage}\\${randomUUID()}`, Buffer.from(paths.root));
    names = await known();
  }
  return `${names.sort()[0]} ${paths.root.toLowerCase()}`;
};

/** Guests move within a domain of Active Directory: hosts speak to each other in its name. */
export const reachOf = async (on: ReadyNode): Promise<MigrationReach> => {
  const storage = await storageOf(on);
  const realm = on.facts.DomainName?.toLowerCase() ?? null;
  return { storage, sees: storage === null ? [] : [storage], realm, pool: null };
};
