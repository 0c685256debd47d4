import type { ServerId } from '@omnivisor/contracts';
import { HypervisorError } from '../hypervisor-driver.js';
import { guestMark, type Mark } from './mark.js';
import { type FileStage, MarkFiles } from './mark-files.js';
import type { Members } from './members.js';
import type { HyperVNode, ReadyNode } from './node.js';
import { Paths } from './paths.js';

export interface KnownFile {
  readonly marks: MarkFiles;
  readonly file: FileStage;
  /** The member whose file it is; null when it does not answer, and another has read it. */
  readonly on: ReadyNode | null;
}

/** The mark files of all members. They lie on the cluster's storage, so they are known while their member is dead. */
export class MemberMarks {
  constructor(private readonly members: Members) {}

  /** @throws HypervisorError `unavailable` when a member does not answer and no other has its folder */
  async all(): Promise<Map<ServerId, KnownFile>> {
    const found = new Map<ServerId, KnownFile>();
    for (const { on, marks, files } of await this.folders())
      for (const [id, file] of files) if (on || !found.has(id)) found.set(id, { on, marks, file });
    return found;
  }

  async remove(id: ServerId): Promise<void> {
    for (const { marks, files } of await this.folders()) if (files.has(id)) await marks.remove(id);
  }

  /**
   * From now on the other members find this one's files while it is dead.
   * @param guests of ours that it has; those that were adopted by an older release have no file yet
   */
  async introduce(
    { node, files, paths, facts, marks }: ReadyNode,
    guests: readonly { readonly mark: Mark }[],
  ): Promise<void> {
    const known = await marks.all();
    for (const { mark } of guests) if (!known.has(mark.serverId)) await marks.write(guestMark(mark), 'settled');
    const path = paths.member(node.options.name);
    const told = await files.read(path, 0, 1024);
    if (told?.bytes.toString() === facts.ComputerName) return;
    await files.makeFolder(paths.members);
    await files.write(path, Buffer.from(facts.ComputerName));
  }

  private async folders() {
    const { told, silent } = await this.members.ask(async (on) => ({
      on: on as ReadyNode | null,
      marks: on.marks,
      files: await on.marks.all(),
    }));
    const through = told[0]?.on;
    const others = await Promise.all(
      silent.map(async (node) => {
        const marks = await this.marksOf(node, through!);
        return { on: null, marks, files: await marks.all() };
      }),
    );
    return [...told, ...others];
  }

  private async marksOf({ options }: HyperVNode, { files, paths }: ReadyNode): Promise<MarkFiles> {
    const told = await files.read(paths.member(options.name), 0, 1024);
    if (told) return new MarkFiles(files, new Paths(paths.root, told.bytes.toString()));
    throw new HypervisorError('unavailable', 'a member of the cluster does not answer, and no other has its folder');
  }
}
