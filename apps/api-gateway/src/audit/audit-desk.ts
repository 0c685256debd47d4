import { argumentsOf, invalid, notFound, type RecordedEvent } from '@omnivisor/contracts';
import type { Projection } from '@omnivisor/eventsourcing';
import { z } from 'zod';
import type { GatewayCore } from '../core/gateway-core.js';
import { userTable } from '../identity/record/tables.js';
import { AdminCommands } from './admin-commands.js';
import { cadfEvent } from './cadf/cadf-event.js';
import { difference, rowsAt } from './diff/diff.js';
import type { AuditIndex } from './index/audit-index.js';
import { momentRange } from './index/moment-range.js';
import { outcomeOf, outcomes, typesWith } from './index/outcome.js';
import { replay, replayAt } from './replay.js';
import { tell } from './why/tell.js';
import { why } from './why/why.js';

const LONG = 600_000;
/** Characters of one page: it has to pass the bus. */
const PAGE = 300_000;
const text = z.string().min(1).max(255);
const limit = (most: number) => z.coerce.number().int().positive().max(most);

const ListArguments = z.object({
  after: z.coerce.number().int().nonnegative().default(0),
  limit: limit(1_000).default(100),
  from: text.optional(),
  to: text.optional(),
  type: text.optional(),
  stream: text.optional(),
  project: text.optional(),
  user: text.optional(),
  resource: text.optional(),
  request: text.optional(),
  outcome: z.enum(outcomes).optional(),
});
/** `none` is the cloud itself, as in the API. */
const ofProject = (project: string | undefined) =>
  project === undefined ? {} : { project: project === 'none' ? null : project };

const Range = z.object({ from: text.optional(), to: text.optional() });
const Between = z.object({ from: text, to: text.optional(), limit: limit(1_000).default(200) });
const ExportArguments = z.object({
  format: z.enum(['jsonl', 'cadf']),
  /** Position after which the page begins. */
  after: z.number().int().nonnegative(),
  until: z.number().int().nonnegative(),
  project: text.optional(),
});

/** Answers the command line's `audit …`: `admin.api-gateway.audit-<command>`. */
export class AuditDesk {
  private readonly commands: AdminCommands;

  constructor(
    private readonly core: GatewayCore,
    private readonly index: AuditIndex,
    private readonly projections: readonly Projection[],
    /** Name of the cloud as the observer of what is exported. */
    private readonly observer: string,
  ) {
    this.commands = new AdminCommands(core.bus);
  }

  async start(): Promise<void> {
    const { commands } = this;
    await commands.serve('audit-list', (args) => this.list(argumentsOf(ListArguments, args)));
    await commands.serve('audit-show', (args) => this.show(String(args.id ?? '')));
    await commands.serve('audit-why', (args) => this.why(String(args.server ?? '')), LONG);
    await commands.serve('audit-who', (args) => this.who(argumentsOf(text, args.resource)));
    await commands.serve('audit-diff', (args) => this.diff(argumentsOf(Between, args)), LONG);
    await commands.serve('audit-replay', ({ at }) => this.replay(at), LONG);
    await commands.serve('audit-range', (args) => this.range(args));
    await commands.serve('audit-export', (args) => this.export(argumentsOf(ExportArguments, args)), LONG);
  }

  stop(): Promise<void> {
    return this.commands.stop();
  }

  private async list(args: z.output<typeof ListArguments>): Promise<RecordedEvent[]> {
    const range = await momentRange(this.core, args.from, args.to);
    const byOutcome = args.outcome && typesWith(args.outcome);
    const types = args.type === undefined ? byOutcome : [args.type].filter((t) => byOutcome?.includes(t) ?? true);
    const resource = args.request ?? args.resource;
    const query = {
      ...ofProject(args.project),
      ...(args.user === undefined ? {} : { actor: args.user }),
      ...(types === undefined ? {} : { types }),
      ...(resource === undefined ? {} : { resource }),
      after: Math.max(range.after, args.after),
      until: range.until,
    };
    if (args.stream !== undefined) return this.inStream(args.stream, query, args.limit);
    const found = await this.index.find({ ...query, order: 'oldest first', limit: args.limit });
    return found.map(({ event }) => event);
  }

  private async inStream(stream: string, query: Parameters<AuditIndex['all']>[0], most: number) {
    const found: RecordedEvent[] = [];
    const inIt = new Set((await this.core.store.readStream(stream)).map((event) => event.position));
    for await (const { event } of this.index.all(query)) {
      if (inIt.has(event.position)) found.push(event);
      if (found.length >= most) break;
    }
    return found;
  }

  /** @param id of an event, or its position */
  private async show(id: string): Promise<RecordedEvent> {
    const position = /^\d{1,15}$/.test(id) ? Number(id) : null;
    if (position === 0) throw notFound('no event 0');
    if (position !== null) {
      const [event] = await this.core.store.readAll(position - 1, 1);
      if (event?.position === position) return event;
    } else
      for await (const { event } of this.index.all({ after: 0, until: await this.core.head() }))
        if (event.id === id) return event;
    throw notFound(`no event ${id}`);
  }

  private why(serverId: string) {
    if (!/^[0-9a-f-]{36}$/.test(serverId)) throw invalid('the id of a server is a UUID');
    return why(this.core, this.index, serverId, { showHosts: true });
  }

  /** What users did to something, or tried to: the newest first. */
  private async who(resource: string) {
    const until = await this.core.head();
    const found = await this.index.find({ resource, after: 0, until, order: 'newest first', limit: 1_000 });
    const byUser = found.flatMap(({ event }) =>
      event.context.actor.kind === 'user' ? [{ event, actor: event.context.actor }] : [],
    );
    const users = await (await this.core.fresh()).getMany(userTable, [...new Set(byUser.map((e) => e.actor.userId))]);
    return byUser.map(({ event, actor }) => ({
      at: event.recordedAt,
      position: event.position,
      user: actor.userId,
      name: users.get(actor.userId)?.name ?? null,
      project: actor.projectId,
      address: actor.address,
      what: tell(event, true),
      type: event.type,
      outcome: outcomeOf(event.type),
      requestId: event.context.requestId,
    }));
  }

  private async diff({ from, to, limit: most }: z.output<typeof Between>) {
    const { after, until } = await momentRange(this.core, from, to);
    return difference(this.core, this.projections, after, until, most);
  }

  private async replay(at: unknown) {
    if (at === undefined) return replay(this.core.store, this.core.readModel, this.projections);
    const { until } = await momentRange(this.core, undefined, argumentsOf(text, at));
    return replayAt(this.core.store, await rowsAt(this.core, until), this.projections, until);
  }

  /** The positions between two moments. */
  private range(args: Record<string, unknown>) {
    const { from, to } = argumentsOf(Range, args);
    return momentRange(this.core, from, to);
  }

  /** As many events as fit a page, and where the next one begins; null at the end. */
  private async export({ format, after, until, project }: z.output<typeof ExportArguments>) {
    const items: object[] = [];
    let length = 0;
    let at = after;
    for await (const audited of this.index.all({ after, until, ...ofProject(project) })) {
      const item = format === 'cadf' ? cadfEvent(audited, this.observer, true) : audited.event;
      length += JSON.stringify(item).length;
      if (items.length > 0 && length > PAGE) return { items, next: at };
      items.push(item);
      at = audited.event.position;
    }
    return { items, next: null };
  }
}
