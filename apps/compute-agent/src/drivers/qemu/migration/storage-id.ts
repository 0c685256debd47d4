import { randomUUID } from 'node:crypto';
import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const NAME = '.omnivisor-storage';

/** What a folder is called by all hosts that have it: the first of them has written it there, whole or not at all. */
export const storageId = (folder: string): string => {
  const file = join(folder, NAME);
  const mine = join(folder, `${NAME}.${randomUUID()}`);
  for (;;)
    try {
      return readFileSync(file, 'utf8').trim();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      writeFileSync(mine, `${randomUUID()}\n`);
      try {
        linkSync(mine, file);
      } catch (late) {
        if ((late as NodeJS.ErrnoException).code !== 'EEXIST') throw late;
      } finally {
        rmSync(mine);
      }
    }
};
