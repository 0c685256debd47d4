import { ServerId } from '@omnivisor/contracts';
import { z } from 'zod';
import type { GuestMark } from '../hypervisor-driver.js';
import type { HostFiles } from './operations/files.js';
import type { Paths } from './paths.js';

const GuestMarkText = z.object({
  cloudId: z.string(),
  serverId: ServerId,
  attempt: z.number().int(),
  build: z.number().int(),
});

/**
 * - `building`: a folder that is ours before there is a machine
 * - `settled`: the machine's notes have the rest
 * - `incoming`: a place for a machine that another host sends
 * - `sending`, `moved`: a machine that was sent to another host, or is about to be
 *
 * `Shared`: the guest's disks stay where they are, and both hosts have them.
 */
const STAGES = [
  ...(['building', 'settled', 'incoming', 'incomingShared', 'sending', 'sendingShared'] as const),
  ...(['moved', 'movedShared'] as const),
] as const;
export type FileStage = (typeof STAGES)[number];

export const isIncoming = (stage: FileStage | null | undefined): boolean => /^incoming/.test(stage ?? '');
export const isLeaving = (stage: FileStage | null | undefined): boolean => /^(sending|moved)/.test(stage ?? '');
export const isShared = (stage: FileStage | null | undefined): boolean => /Shared$/.test(stage ?? '');

const NAME = /^([0-9a-f-]{36})\.([A-Za-z]+)$/;

/** What is known of a server on this host while it has no machine here: a small file whose name tells the stage. */
export class MarkFiles {
  constructor(
    private readonly files: HostFiles,
    private readonly paths: Paths,
  ) {}

  async all(): Promise<Map<ServerId, FileStage>> {
    return new Map(await this.every());
  }

  private async every(): Promise<[ServerId, FileStage][]> {
    return (await this.files.items(this.paths.marks)).flatMap(({ Name }): [ServerId, FileStage][] => {
      const [, id, name] = NAME.exec(Name) ?? [];
      const stage = STAGES.find((known) => known === name);
      return id && stage ? [[ServerId.parse(id), stage]] : [];
    });
  }

  async stageOf(id: ServerId): Promise<FileStage | null> {
    return (await this.all()).get(id) ?? null;
  }

  /** @returns null when it is gone or of another cloud */
  async read(id: ServerId, stage: FileStage, cloudId: string): Promise<GuestMark | null> {
    const mark = GuestMarkText.safeParse(await this.content(id, stage));
    return mark.success && mark.data.cloudId === cloudId ? mark.data : null;
  }

  /** All that was written beside the mark. */
  async content(id: ServerId, stage: FileStage): Promise<unknown> {
    const file = await this.files.read(this.paths.mark(id, stage), 0, 1 << 20);
    return JSON.parse(file?.bytes.toString() || 'null');
  }

  async write(mark: GuestMark, stage: FileStage, more: object = {}): Promise<void> {
    await this.files.makeFolder(this.paths.marks);
    await this.files.write(this.paths.mark(mark.serverId, stage), Buffer.from(JSON.stringify({ ...more, ...mark })));
    // One file tells where it stands.
    for (const [id, other] of await this.every())
      if (id === mark.serverId && other !== stage) await this.files.remove(this.paths.mark(id, other));
  }

  move(id: ServerId, from: FileStage, to: FileStage): Promise<void> {
    return this.files.move(this.paths.mark(id, from), this.paths.mark(id, to));
  }

  async remove(id: ServerId): Promise<void> {
    for (const [known, stage] of await this.all())
      if (known === id) await this.files.remove(this.paths.mark(id, stage));
  }
}
