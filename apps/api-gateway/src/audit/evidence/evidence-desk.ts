import { argumentsOf, conflict, invalid, notFound } from '@omnivisor/contracts';
import {
  leafText,
  NotAsSealed,
  NoteError,
  type NoteVerifier,
  openCheckpoint,
  parseVerifier,
  type SealedLog,
  sealedEvents,
  verifyConsistency,
  verifyRange,
} from '@omnivisor/eventsourcing/seal';
import { z } from 'zod';
import type { GatewayCore } from '../../core/gateway-core.js';
import { AdminCommands } from '../admin-commands.js';
import type { Evidence } from './evidence.js';

const whole = z.coerce.number().int().nonnegative();
/** Public keys that the caller trusts; the log's own when none are given. */
const keys = z.array(z.string()).default([]);
const VerifyArguments = z.object({ keys, checkpoints: z.array(z.string()).default([]) });
const RangeArguments = z.object({ keys, from: whole, count: whole.max(1_000_000) });
const ProveArguments = z.object({ keys, id: z.string() });
const ConsistencyArguments = z.object({ keys, notes: z.tuple([z.string(), z.string()]) });
const LeavesArguments = z.object({ from: whole });

const LONG = 600_000;
/** Characters of one page of leaves: it has to pass the bus. */
const PAGE = 300_000;

/** What was asked about a note that is none is the caller's mistake; that the log is not what was sealed is an answer. */
const foreseen = async <T>(work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    if (error instanceof NoteError) throw invalid(error.message);
    if (error instanceof NotAsSealed)
      throw conflict(error.ordinal === null ? error.message : `event ${error.ordinal}: ${error.message}`);
    throw error;
  }
};

/** Answers the command line about seals: `audit verify`, `audit key`, `audit export --format bundle`. */
export class EvidenceDesk {
  private readonly commands: AdminCommands;

  constructor(
    private readonly core: GatewayCore,
    private readonly evidence: Evidence,
  ) {
    this.commands = new AdminCommands(core.bus);
  }

  async start(): Promise<void> {
    const serve = <A>(
      command: string,
      schema: z.ZodType<A>,
      handler: (args: A) => Promise<unknown>,
      timeout?: number,
    ) => this.commands.serve(command, (args) => foreseen(() => handler(argumentsOf(schema, args))), timeout);
    await serve('audit-verify', VerifyArguments, (args) => this.verify(args), LONG);
    await serve('audit-verify-range', RangeArguments, (args) => this.verifyRange(args), LONG);
    await serve('audit-prove', ProveArguments, (args) => this.prove(args), LONG);
    await serve('audit-consistency', ConsistencyArguments, (args) => this.consistency(args), LONG);
    await serve('audit-leaves', LeavesArguments, (args) => this.leaves(args));
    await serve('audit-checkpoint', z.object({}), () => this.checkpoint());
    await serve('audit-key', z.object({}), () => this.keys());
    await serve('audit-key-rotate', z.object({}), async () => (await this.evidence.rotate()).text);
  }

  stop(): Promise<void> {
    return this.commands.stop();
  }

  private async verify({ keys, checkpoints }: z.output<typeof VerifyArguments>) {
    const report = await this.evidence.verify((await this.log(keys)).keys, checkpoints);
    return { ...report, sealing: this.evidence.failure };
  }

  private async verifyRange({ keys, from, count }: z.output<typeof RangeArguments>) {
    const report = { events: 0, firstBad: null as number | null, problem: null as string | null };
    try {
      for await (const { ordinal, ok } of verifyRange(await this.log(keys), from, count)) {
        if (!ok) throw new NotAsSealed(ordinal, `event ${ordinal} is not the one that was sealed`);
        report.events++;
      }
    } catch (error) {
      if (!(error instanceof NotAsSealed)) throw error;
      return { ...report, ok: false, firstBad: error.ordinal, problem: error.message };
    }
    if (report.events === 0) throw notFound(`no event from ${from} on is sealed`);
    return { ...report, ok: true };
  }

  private async prove({ keys, id }: z.output<typeof ProveArguments>) {
    const log = await this.log(keys);
    const ordinal = await this.ordinalOf(log, id);
    for await (const { event, proof, checkpoint, ok } of verifyRange(log, ordinal, 1))
      return {
        ok,
        ordinal,
        leaf: leafText(ordinal, event),
        proof: proof.map((hash) => hash.toString('base64')),
        checkpoint,
      };
    throw notFound(`event ${id} is not sealed yet`);
  }

  /** @param id of an event, or its position */
  private async ordinalOf(log: SealedLog, id: string): Promise<number> {
    const position = /^\d{1,15}$/.test(id) ? Number(id) : null;
    const start = position === null ? undefined : await log.seals.upTo('position', position - 1);
    for await (const [ordinal, event] of sealedEvents(log, start?.size ?? 0)) {
      if (position === null ? event.id === id : event.position === position) return ordinal;
      if (position !== null && event.position > position) break;
    }
    throw notFound(`no sealed event ${id}`);
  }

  private async consistency({ keys, notes }: z.output<typeof ConsistencyArguments>) {
    const { ok, problem, proof } = await verifyConsistency(await this.log(keys), notes);
    return { ok, problem, proof: proof.map((hash) => hash.toString('base64')) };
  }

  /** Texts that are hashed, as many as fit a page. */
  private async leaves({ from }: z.output<typeof LeavesArguments>): Promise<{ leaves: string[] }> {
    const leaves: string[] = [];
    let length = 0;
    for await (const [ordinal, event] of sealedEvents({ store: this.core.store, seals: this.evidence.seals }, from)) {
      const text = leafText(ordinal, event);
      length += text.length;
      if (leaves.length > 0 && length > PAGE) break;
      leaves.push(text);
    }
    return { leaves };
  }

  private async checkpoint() {
    const latest = await this.evidence.seals.latest();
    if (!latest) throw notFound('no event is sealed yet');
    const { recordedAt, origin } = openCheckpoint(latest.note, await this.evidence.keys());
    return { ...latest, recordedAt, origin };
  }

  private async keys(): Promise<string[]> {
    return (await this.evidence.keys()).map((key) => key.text);
  }

  private async log(trusted: readonly string[]): Promise<SealedLog> {
    const own = (): Promise<NoteVerifier[]> => this.evidence.keys();
    return {
      store: this.core.store,
      seals: this.evidence.seals,
      keys: trusted.length > 0 ? trusted.map(parseVerifier) : await own(),
    };
  }
}
