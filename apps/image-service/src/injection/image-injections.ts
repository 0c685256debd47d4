import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type CommandContext,
  conflict,
  DomainError,
  type GuestFacts,
  type HypervisorKind,
  type ImageId,
  type ImageReadiness,
  unsupported,
} from '@omnivisor/contracts';
import type { ImageContext } from '../core.js';
import { ovaDisk } from '../forms/ova-disk.js';
import { convert, outputBound } from '../forms/qemu-img.js';
import { formOf } from '../forms/stored-form.js';
import { Turns } from '../forms/turns.js';
import { Unreadable } from '../guest/disk.js';
import type { GuestDisks } from '../guest/guest-disks.js';
import { readinessOf } from '../guest/readiness.js';
import { guestsTable, type ImageRow, imagesTable } from '../image/image.projection.js';
import { imageAggregate } from '../image/image-lifecycle.js';
import type { ImageUploads } from '../image/image-uploads.js';
import { EMULATOR, type Sandbox } from '../sandbox/sandbox.js';
import { DONE, driversFor, initArchive, injectionInit } from './script.js';
import { deviceFor, runThrowawayGuest } from './throwaway-guest.js';

/** Of one project. */
const WAITING = 4;

/** Makes new images of those whose initial RAM disk lacks drivers, by the guest's own tools in a throw-away machine. */
export class ImageInjections {
  private readonly turns = new Turns({ width: 1, room: WAITING });
  private readonly running = new Set<Promise<void>>();
  private readonly ending = new AbortController();

  constructor(
    private readonly context: ImageContext,
    private readonly uploads: ImageUploads,
    private readonly sandbox: Sandbox | null,
    private readonly disks: GuestDisks | null,
    private readonly onError: (where: string, error: unknown) => void,
  ) {}

  /**
   * Begins; the task of the new image tells how it ends.
   * @returns the new image
   * @throws DomainError `unsupported`; `conflict` for a guest that needs or allows no injection
   */
  async begin(
    image: ImageRow,
    hypervisors: readonly HypervisorKind[],
    owner: string,
    step: (name: string) => CommandContext,
  ): Promise<ImageId> {
    const { core } = this.context;
    const { sandbox, disks } = this;
    if (!sandbox?.has(EMULATOR) || !disks) throw unsupported('This service cannot start a guest to inject drivers.');
    const found = await (await core.fresh()).get(guestsTable, image.id);
    if (image.status !== 'active' || !found) throw conflict('The guest in the image has not been looked at yet.');
    for (const kind of hypervisors)
      if (found.readiness[kind]?.verdict !== 'bootsAfterInjection')
        throw conflict(
          `Drivers for ${kind} cannot be injected: ${found.readiness[kind]?.reason ?? whyNot(found, kind)}`,
        );
    const device = deviceFor(found.guest.bootDrivers);
    if (!device) throw conflict('The guest starts on nothing that this service can emulate.');
    const imageId = core.ids.uuid() as ImageId;
    const taskId = core.ids.uuid();
    await core.commands.execute(
      imageAggregate,
      imageId,
      this.creation(image, imageId, hypervisors, owner),
      step('create'),
    );
    const start = {
      ...({ kind: 'startImport', imageId, taskId, method: 'os-omnivisor-inject', source: null, owner } as const),
      uploadId: core.ids.uuid(),
    };
    const { state, position } = await core.commands.execute(imageAggregate, imageId, start, step('start'));
    const uploadId = state!.uploadId!;
    const work = this.uploads.holding(uploadId, () =>
      this.turns.take({ of: owner, signal: this.ending.signal }, () =>
        this.carryOut(sandbox, disks, image, imageId, uploadId, hypervisors, device, step),
      ),
    );
    const told = work.catch((error) => this.fail(imageId, taskId, error, step('fail')));
    this.running.add(told);
    void told.finally(() => this.running.delete(told));
    await core.at(position);
    return imageId;
  }

  async stop(): Promise<void> {
    this.ending.abort();
    await Promise.allSettled(this.running);
  }

  private creation(image: ImageRow, imageId: ImageId, hypervisors: readonly HypervisorKind[], owner: string) {
    const { name, minDisk, minRam, tags } = image;
    return {
      ...({ kind: 'create', imageId, madeFrom: { imageId: image.id, how: 'driverInjection' } } as const),
      attributes: {
        ...{ name, minDisk, minRam, tags, owner, diskFormat: 'qcow2', containerFormat: 'bare' },
        ...({ visibility: 'private', protected: false, hidden: false } as const),
      },
      properties: {
        ...image.properties,
        os_omnivisor_made_from: image.id,
        os_omnivisor_injected: hypervisors.join(','),
      },
    };
  }

  private async carryOut(
    sandbox: Sandbox,
    disks: GuestDisks,
    image: ImageRow,
    imageId: ImageId,
    uploadId: string,
    hypervisors: readonly HypervisorKind[],
    device: string,
    step: (name: string) => CommandContext,
  ): Promise<void> {
    const { store, core } = this.context;
    const folder = await mkdtemp(join(tmpdir(), 'image-injection-'));
    const opened: FileHandle[] = [];
    const scratch = async (name: string) => {
      const file = await open(join(folder, name), 'wx+', 0o600);
      opened.push(file);
      return file;
    };
    const writer = await store.begin(uploadId, outputBound(image.virtualSize!), true);
    try {
      if (!writer.file) throw unsupported('The image store of this service keeps no files for a converter.');
      const parts = { kernel: await scratch('kernel'), initramfs: await scratch('initramfs'), disk: writer.file };
      const plan = await disks.plan(image, parts, this.ending.signal);
      const { size } = await parts.initramfs.stat();
      const init = initArchive(injectionInit(plan, driversFor(hypervisors)));
      const behind = Buffer.concat([Buffer.alloc((4 - (size % 4)) % 4), init]);
      await parts.initramfs.write(behind, 0, behind.length, size);
      await this.toQcow2(sandbox, image, writer.file);
      const bound = outputBound(image.virtualSize!);
      const said = await runThrowawayGuest(sandbox, parts, device, bound, this.ending.signal);
      if (!said.includes(DONE)) throw new InjectionFailed(said);
      await this.assertReady(disks, writer.file, hypervisors, said);
      await writer.file.chmod(0o600);
      await writer.commit();
      const row = (await (await core.fresh()).get(imagesTable, imageId))!;
      await this.uploads.import(row, uploadId, null, step);
    } catch (error) {
      await writer.abort();
      throw error;
    } finally {
      for (const file of opened) await file.close();
      await rm(folder, { recursive: true, force: true });
    }
  }

  private async toQcow2(sandbox: Sandbox, image: ImageRow, target: FileHandle): Promise<void> {
    const handle = await this.context.store.openFile(image.uploadId!);
    try {
      const form = formOf(image)!;
      const stretch = form === 'ova' ? await ovaDisk(handle!) : null;
      const source = { handle: handle!, form, size: image.size!, virtualSize: image.virtualSize! };
      await convert(sandbox, { ...source, ...(stretch ? { stretch } : {}) }, { handle: target, form: 'qcow2' });
    } finally {
      await handle?.close();
    }
  }

  /** What the guest says of itself proves nothing: it is looked at again. */
  private async assertReady(
    disks: GuestDisks,
    handle: FileHandle,
    hypervisors: readonly HypervisorKind[],
    said: string,
  ): Promise<void> {
    const { size } = await handle.stat();
    const guest = await disks.factsOf({ handle, form: 'qcow2', size });
    const readiness = readinessOf(guest);
    if (!hypervisors.every((kind) => readiness[kind]?.verdict === 'boots')) throw new InjectionFailed(said);
  }

  private async fail(imageId: ImageId, taskId: string, error: unknown, context: CommandContext): Promise<void> {
    if (this.ending.signal.aborted) return;
    this.onError(`driver injection for image ${imageId}`, error);
    const known = error instanceof DomainError || error instanceof Unreadable;
    const reason = known ? (error as Error).message : 'The drivers could not be injected.';
    const command = { kind: 'failImport', imageId, taskId, reason } as const;
    await this.context.core.commands
      .execute(imageAggregate, imageId, command, context)
      .catch((failure) => this.onError(`end of the driver injection for image ${imageId}`, failure));
  }
}

/** The guest's tools did not do it; what it said is for the log. */
class InjectionFailed extends DomainError {
  constructor(said: string) {
    const reason = /omnivisor-inject: failed: ([\w /]{1,80})/.exec(said)?.[1];
    super('conflict', `The guest did not build an initial RAM disk with the drivers${reason ? `: ${reason}` : ''}.`, {
      cause: said.slice(-4_000),
    });
  }
}

const whyNot = (
  { readiness, guest }: { readiness: ImageReadiness; guest: GuestFacts },
  kind: HypervisorKind,
): string => (readiness[kind] ? 'its initial RAM disk has them' : (guest.unknown ?? 'nothing is known of it there'));
