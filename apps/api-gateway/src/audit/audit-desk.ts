import { invalid, notFound, type RecordedEvent, serverEvents } from '@omnivisor/contracts';
import { type Projection, streamOf } from '@omnivisor/eventsourcing';
import { z } from 'zod';
import { schedulingTable } from '../compute/scheduling/scheduling.projection.js';
import type { GatewayCore } from '../core/gateway-core.js';
import { AdminCommands } from './admin-commands.js';
import { replay } from './replay.js';
import { storyOf } from './story.js';

const SCAN = 2_000;

const ListArguments = z.object({
  after: z.coerce.number().int().nonnegative().default(0),
  limit: z.coerce.number().int().positive().max(1_000).default(100),
  type: z.string().optional(),
  stream: z.string().optional(),
  project: z.string().optional(),
  user: z.string().optional(),
  request: z.string().optional(),
});

const fits = (event: RecordedEvent, args: z.output<typeof ListArguments>): boolean => {
  const { actor, requestId, correlationId } = event.context;
  return (
    (args.type === undefined || event.type === args.type) &&
    (args.stream === undefined || event.stream === args.stream) &&
    (args.project === undefined || (actor.kind === 'user' && actor.projectId === args.project)) &&
    (args.user === undefined || (actor.kind === 'user' && actor.userId === args.user)) &&
    (args.request === undefined || requestId === args.request || correlationId === args.request)
  );
};

/** Answers the command line's `audit …`: `admin.api-gateway.audit-<command>`. */
export class AuditDesk {
  private readonly commands: AdminCommands;

  constructor(
    private readonly core: GatewayCore,
    private readonly projections: readonly Projection[],
  ) {
    this.commands = new AdminCommands(core.bus);
  }

  async start(): Promise<void> {
    const { commands } = this;
    await commands.serve('audit-list', (args) => this.list(ListArguments.parse(args)));
    await commands.serve('audit-show', (args) => this.show(String(args.id ?? '')));
    await commands.serve('audit-why', (args) => this.why(String(args.server ?? '')));
    await commands.serve('audit-replay', () => replay(this.core.store, this.core.readModel, this.projections), 600_000);
  }

  stop(): Promise<void> {
    return this.commands.stop();
  }

  private async list(args: z.output<typeof ListArguments>): Promise<RecordedEvent[]> {
    const found: RecordedEvent[] = [];
    for await (const event of this.scan(args.after)) {
      if (fits(event, args)) found.push(event);
      if (found.length >= args.limit) break;
    }
    return found;
  }

  private async show(id: string): Promise<RecordedEvent> {
    const position = /^\d+$/.test(id) ? Number(id) : null;
    if (position !== null) {
      const [event] = await this.core.store.readAll(position - 1, 1);
      if (event?.position === position) return event;
    } else for await (const event of this.scan(0)) if (event.id === id) return event;
    throw notFound(`no event ${id}`);
  }

  private async why(serverId: string) {
    if (!/^[0-9a-f-]{36}$/.test(serverId)) throw invalid('the id of a server is a UUID');
    const rows = await this.core.fresh();
    const events = await this.core.store.readStream(streamOf(serverEvents, serverId));
    if (events.length === 0) throw notFound(`no server ${serverId}`);
    const decisions = await rows.find(schedulingTable, { where: { serverId }, orderBy: [['attempt', 'asc']] });
    return storyOf(events, decisions, true);
  }

  private async *scan(after: number): AsyncIterable<RecordedEvent> {
    for (let at = after; ; ) {
      const events = await this.core.store.readAll(at, SCAN);
      yield* events;
      const last = events.at(-1);
      if (!last || events.length < SCAN) return;
      at = last.position;
    }
  }
}
