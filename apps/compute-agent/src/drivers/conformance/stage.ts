import { randomUUID } from 'node:crypto';
import { createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type ServerId, ServerId as ServerIdSchema } from '@omnivisor/contracts';
import { expect, it } from 'vitest';
import {
  type FoundGuest,
  type GuestSpec,
  type HypervisorDriver,
  HypervisorError,
  type HypervisorErrorCode,
} from '../hypervisor-driver.js';
import type { DriverUnderTest } from './driver-under-test.js';
import { isFeature, type Proof } from './proof.js';
import type { Results } from './results.js';

/** What a behaviour needs beside the driver: the reason to skip it, and the hook that has to be there. */
export type Needs = Readonly<Record<string, unknown>>;

export const newId = (): ServerId => ServerIdSchema.parse(randomUUID());

export const never = new AbortController().signal;

/** The code with which a call was refused. */
export const refusal = async (call: Promise<unknown>): Promise<HypervisorErrorCode> => {
  const error = await call.then(
    () => expect.fail('the call was not refused'),
    (reason: unknown) => reason,
  );
  if (!(error instanceof HypervisorError)) throw new Error('rejected with another error', { cause: error });
  expect(error.message).not.toBe('');
  return error.code;
};

/** The driver under test, and what all behaviours do with it. */
export class Stage {
  driver!: HypervisorDriver;
  readonly patience: number;
  private readonly made = new Set<ServerId>();

  constructor(
    readonly under: DriverUnderTest,
    private readonly results: Results,
  ) {
    this.patience = under.patience ?? 10_000;
  }

  /** One promise of the interface. What cannot be tried here is skipped, and the results say what was missing. */
  behaviour(proof: Proof, name: string, body: () => Promise<void>, needs: Needs = {}): void {
    const missing = Object.keys(needs).find((need) => !needs[need]);
    if (isFeature(proof) && !this.under.supports.includes(proof)) it.skip(`${name} (not supported)`, () => {});
    else if (missing !== undefined) {
      this.results.skip(proof, name, missing);
      it.skip(`${name} (needs ${missing})`, () => {});
    } else
      it(name, { timeout: this.patience * 3 }, async () => {
        this.under.told?.(proof, name, 'tried');
        await body();
        this.results.pass(proof, name);
        this.under.told?.(proof, name, 'passed');
      });
  }

  async open(): Promise<void> {
    this.driver = await this.under.open();
  }

  async close(): Promise<void> {
    for (const id of this.made) await this.driver.destroy(id);
    await this.driver.close();
  }

  /** The agent ends and starts anew; `meanwhile` happens while none is there. */
  async restart(meanwhile: () => Promise<void> = async () => {}): Promise<void> {
    await this.driver.close();
    await meanwhile();
    this.driver = await this.under.reopen();
  }

  /** A spec whose guest is removed when the suite ends, if no behaviour did it. `heard`: it hears the hooks of `inside`. */
  async spec(change: Partial<GuestSpec> = {}, heard = false): Promise<GuestSpec> {
    const { guest, quietGuest = guest } = this.under;
    const spec = { ...(await (heard ? guest : quietGuest)(newId())), ...change };
    this.made.add(spec.mark.serverId);
    return spec;
  }

  own(id: ServerId): void {
    this.made.add(id);
  }

  /** A guest that runs. */
  async running(change: Partial<GuestSpec> = {}, heard = false): Promise<GuestSpec & { id: ServerId }> {
    const spec = await this.spec(change, heard);
    await this.driver.spawn(spec, never);
    return { ...spec, id: spec.mark.serverId };
  }

  /** A guest that runs and hears the hooks of `inside`, where there are any. */
  async up(change: Partial<GuestSpec> = {}): Promise<GuestSpec & { id: ServerId }> {
    const spec = await this.running(change, true);
    await this.under.inside?.up(spec.id);
    return spec;
  }

  async off(heard = false): Promise<GuestSpec & { id: ServerId }> {
    return this.running({ powerOn: false }, heard);
  }

  async discard(id: ServerId): Promise<void> {
    await this.driver.destroy(id);
    this.made.delete(id);
  }

  async find(id: ServerId, at = this.driver): Promise<FoundGuest | undefined> {
    return (await at.list()).find((guest) => guest.mark.serverId === id);
  }

  async power(id: ServerId, at = this.driver): Promise<string> {
    return (await at.inspect(id)).power;
  }

  async stage(id: ServerId, at = this.driver): Promise<string> {
    return (await at.inspect(id)).stage;
  }

  /** What was written to a guest's root, whatever its power: of an export of it. */
  async rootLetter(id: ServerId): Promise<string> {
    const folder = mkdtempSync(join(tmpdir(), 'omnivisor-export-'));
    try {
      const snapshots = this.driver.snapshots!;
      const { format, stream } = await snapshots.exportDisk(id, 'root', snapshots.formats[0]!, never);
      const file = join(folder, `root.${format}`);
      await pipeline(stream, createWriteStream(file));
      return await this.under.letterOf!(file, format);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  reaches(id: ServerId, state: string, at = this.driver): Promise<void> {
    return expect.poll(() => this.power(id, at), { timeout: this.patience, interval: 20 }).toBe(state);
  }

  async leavesNothing(id: ServerId): Promise<void> {
    expect(await this.under.leftovers(id)).toEqual([]);
    expect(await this.find(id)).toBeUndefined();
    expect(await refusal(this.driver.inspect(id))).toBe('serverNotOnHost');
  }
}
