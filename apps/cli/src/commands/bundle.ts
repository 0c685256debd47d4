import { closeSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { conflict, invalid, unavailable } from '@omnivisor/contracts';
import type { Client } from '../client.js';

interface Checkpoint {
  readonly size: number;
  readonly note: string;
  readonly origin: string;
}

const APP = 'api-gateway';
/** Events of one file. */
const PIECE = 100_000;

const ABOUT = `The sealed log of a cloud, up to one signed checkpoint.

checkpoint.note   C2SP tlog-checkpoint: origin, number of events, root of the tree of RFC 6962, signatures
events-*.jsonl    one event a line; the SHA-256 of a zero byte and the line, without its line break, is the leaf
keys.txt          public keys as the log has them; trust the ones you got from elsewhere

node verify-bundle.mjs FOLDER --key FILE [--checkpoint FILE]
`;

/**
 * Writes the log up to its newest checkpoint.
 * @throws DomainError `conflict` when the folder exists; nothing of it is left after a failure
 */
export const writeBundle = async (client: Client, folder: string): Promise<{ events: number; size: number }> => {
  const { size, note } = (await client.ask(APP, 'audit-checkpoint')) as Checkpoint;
  const keys = (await client.ask(APP, 'audit-key')) as string[];
  try {
    mkdirSync(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw code === 'EEXIST' ? conflict(`${folder} is there already`) : invalid(`${folder}: ${code}`);
  }
  try {
    writeFileSync(join(folder, 'README.txt'), ABOUT);
    writeFileSync(join(folder, 'checkpoint.note'), note);
    writeFileSync(join(folder, 'keys.txt'), `${keys.join('\n')}\n`);
    let events = 0;
    let file: number | undefined;
    while (events < size) {
      const { leaves } = (await client.ask(APP, 'audit-leaves', { from: events })) as { leaves: string[] };
      if (leaves.length === 0) throw unavailable(`the log ends after ${events} events, but ${size} were sealed`);
      for (const leaf of leaves.slice(0, size - events)) {
        if (events % PIECE === 0) {
          if (file !== undefined) closeSync(file);
          file = openSync(join(folder, `events-${String(events).padStart(12, '0')}.jsonl`), 'wx');
        }
        writeSync(file!, `${leaf}\n`);
        events++;
      }
    }
    if (file !== undefined) closeSync(file);
    return { events, size };
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
};
