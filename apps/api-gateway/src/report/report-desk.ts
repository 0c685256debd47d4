import { argumentsOf, invalid, type Position, seconds, unavailable } from '@omnivisor/contracts';
import { canonicalText } from '@omnivisor/eventsourcing';
import { NoteError, openCheckpoint, parseVerifier } from '@omnivisor/eventsourcing/seal';
import { z } from 'zod';
import { AdminCommands } from '../audit/admin-commands.js';
import type { Evidence } from '../audit/evidence/evidence.js';
import type { AuditIndex } from '../audit/index/audit-index.js';
import { momentOf } from '../audit/index/moment-range.js';
import type { GatewayCore } from '../core/gateway-core.js';
import {
  checkReport,
  type Report,
  type ReportKind,
  reportKinds,
  reportText,
  type SignedReport,
} from './signed-report.js';
import { licenceLines, type Stretch, USAGE_TYPES, UsageFold, usageLines } from './usage.js';

const LONG = 600_000;
const SEAL_DEADLINE = 10_000;
const text = z.string().min(1).max(64);
const Ask = z.object({ kind: z.enum(reportKinds), from: text, to: text.optional() });
const Verify = z.object({
  keys: z.array(z.string()).default([]),
  signed: z.object({
    report: z.looseObject({
      kind: z.enum(reportKinds),
      from: text,
      to: text,
      position: z.number().int().nonnegative(),
    }),
    checkpoint: z.string(),
    note: z.string(),
  }),
});

/** Answers the command line's `report …`: `admin.api-gateway.report` and `report-verify`. */
export class ReportDesk {
  private readonly commands: AdminCommands;

  constructor(
    private readonly core: GatewayCore,
    private readonly index: AuditIndex,
    private readonly evidence: Evidence,
    private readonly cloud: string,
  ) {
    this.commands = new AdminCommands(core.bus);
  }

  async start(): Promise<void> {
    await this.commands.serve('report', (args) => this.report(argumentsOf(Ask, args)), LONG);
    await this.commands.serve('report-verify', (args) => this.verify(argumentsOf(Verify, args)), LONG);
  }

  stop(): Promise<void> {
    return this.commands.stop();
  }

  private async report({ kind, from, to }: z.output<typeof Ask>): Promise<SignedReport> {
    const start = await momentOf(this.core, from);
    const end = to === undefined ? await this.newestSealed() : await momentOf(this.core, to);
    if (start.at >= end.at) throw invalid('That period ends before it begins.');
    const checkpoint = await this.sealed(end.position);
    const report = await this.counted(kind, start.at, end.at, end.position);
    const head = openCheckpoint(checkpoint.note, await this.evidence.keys());
    return { report, checkpoint: checkpoint.note, note: await this.evidence.sign(reportText(report, head)) };
  }

  /** Signature, hash, and whether the log still says the same. */
  private async verify({ keys, signed }: z.output<typeof Verify>): Promise<{ ok: boolean; problem: string | null }> {
    const trusted = keys.length > 0 ? keys.map(parseKey) : await this.evidence.keys();
    const given = signed as unknown as SignedReport;
    const problem = checkReport(given, trusted);
    if (problem !== null) return { ok: false, problem };
    const { kind, from, to, position } = given.report;
    const again = await this.counted(kind, from, to, position);
    const isSame = canonicalText(again) === canonicalText(given.report);
    return { ok: isSame, problem: isSame ? null : 'the log says something else now: run omnivisor audit verify' };
  }

  private async counted(kind: ReportKind, from: string, to: string, position: Position): Promise<Report> {
    const stretches: Stretch[] = [];
    const fold = new UsageFold(Date.parse(from), Date.parse(to), (stretch) => stretches.push(stretch));
    for await (const { event } of this.index.all({ types: USAGE_TYPES, after: 0, until: position })) fold.apply(event);
    fold.finish();
    const lines = kind === 'usage' ? usageLines(stretches) : licenceLines(stretches);
    return { kind, cloud: this.cloud, from, to, position, lines };
  }

  private async newestSealed() {
    const latest = await this.evidence.seals.latest();
    if (!latest) throw unavailable('no event is sealed yet');
    const { position, recordedAt } = openCheckpoint(latest.note, await this.evidence.keys());
    return { position, at: recordedAt };
  }

  /** A checkpoint that has the event at `position`. */
  private async sealed(position: Position) {
    for (let waited = 0; ; waited += 500) {
      const latest = await this.evidence.seals.latest();
      if (latest && latest.position >= position) return latest;
      if (waited >= SEAL_DEADLINE) throw unavailable('the end of that period is not sealed yet');
      await this.core.clock.sleep(seconds(0.5));
    }
  }
}

const parseKey = (key: string) => {
  try {
    return parseVerifier(key);
  } catch (error) {
    if (error instanceof NoteError) throw invalid(error.message);
    throw error;
  }
};
