import { z } from 'zod';
import { readMark } from './mark.js';
import { isIncoming } from './mark-files.js';
import type { Members } from './members.js';
import type { ReadyNode } from './node.js';

const KEEP_FOR = 24 * 60 * 60_000;
const SWEEP_EVERY = 60 * 60_000;

/**
 * Copies of images that no guest stands on any more, of whatever cloud. Bytes are kept for a day, as the next guest of an
 * image comes soon or not at all. Nothing is swept while a disk is being made, and none is begun meanwhile.
 */
export class ImageSweep {
  private making = 0;
  private sweeping: Promise<void> = Promise.resolve();
  private last = 0;

  /** Makes something of an image. */
  async around<T>(action: () => Promise<T>): Promise<T> {
    this.making += 1;
    try {
      await this.sweeping;
      return await action();
    } finally {
      this.making -= 1;
    }
  }

  /** After a guest has gone; seldom, and what fails is tried again later. */
  async soon(members: Members, now = Date.now()): Promise<void> {
    if (this.making > 0 || now - this.last < SWEEP_EVERY) return;
    this.last = now;
    this.sweeping = this.sweep(members, now).catch(() => undefined);
    await this.sweeping;
  }

  private async sweep(members: Members, now: number): Promise<void> {
    const { told, silent } = await members.ask(async (on) => ({ on, machines: await on.machines.all() }));
    // What stands on an image there is not known.
    if (silent.length > 0) return;
    const machines = told.flatMap((host) => host.machines);
    const expected = await Promise.all(told.map(({ on }) => expectedOn(on)));
    const images = [...machines.flatMap(({ Notes }) => readMark(Notes)?.images ?? []), ...expected.flat()];
    const needed = new Set(images.map((path) => path.toLowerCase()));
    for (const { on } of told)
      for (const { Name, Changed } of await on.files.items(on.paths.images)) {
        const path = `${on.paths.images}\\${Name}`;
        if (now - Date.parse(Changed) > KEEP_FOR && !needed.has(path.toLowerCase())) await on.files.remove(path);
      }
  }
}

const Expected = z.object({ parents: z.array(z.string()).default([]) });

/** What guests stand on that other hosts are about to send. */
const expectedOn = async ({ marks }: ReadyNode): Promise<string[]> => {
  const incoming = [...(await marks.all())].filter(([, stage]) => isIncoming(stage));
  const contents = await Promise.all(incoming.map(([id, stage]) => marks.content(id, stage)));
  return contents.flatMap((content) => Expected.parse(content).parents);
};
