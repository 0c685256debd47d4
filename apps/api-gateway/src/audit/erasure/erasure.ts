import {
  type CommandContext,
  type CommandId,
  eventSetOf,
  type PersonalSubject,
  type RequestId,
  splitPersonal,
  subjectKey,
} from '@omnivisor/contracts';
import type { EventStore, Process } from '@omnivisor/eventsourcing';
import { boxOf, type PersonalKeys } from '@omnivisor/eventsourcing/personal';
import type { GatewayCore } from '../../core/gateway-core.js';
import { ERASURE_PROCESS, erasureTable } from './erasure.projection.js';
import { type PersonalDataCommand, personalData } from './personal-data.js';

/** What the log has of a subject. */
export interface Findings {
  /** Events whose personal fields a key of the subject closes. */
  readonly closed: number;
  /** Events of older releases that have them in the clear: they are sealed as they stand, and stay. */
  readonly plain: number;
}

export interface Erased {
  /** Rows and versions of rows that had told it. */
  readonly rows: number;
}

const PAGE = 1_000;

/**
 * Erases what is personal of a user or project: first the fact that it is erased, then the key, then what read models
 * had folded of it, and after every replica has forgotten the key this once more. The log says how far it has come: what
 * was cut off anywhere the process goes on with, and the second look follows the end of the key, never its announcement.
 */
export class Erasure implements Process {
  readonly name = ERASURE_PROCESS;

  constructor(
    private readonly core: GatewayCore,
    /** The log as it stands. */
    private readonly log: EventStore,
    private readonly keys: PersonalKeys,
  ) {}

  async find(subject: PersonalSubject): Promise<Findings> {
    const refs = new Set(await this.keys.refs(subject));
    const wanted = subjectKey(subject);
    const streams = new Set<string>();
    let closed = 0;
    let plain = 0;
    for (let after = 0; ; ) {
      const page = await this.log.readAll(after, PAGE);
      for (const { type, stream, data } of page) {
        const named = eventSetOf(type)?.subject?.(data as Record<string, unknown>);
        if (named && subjectKey(named) === wanted) streams.add(stream);
        const box = boxOf(data);
        if (box) closed += refs.has(box.key) ? 1 : 0;
        else if (streams.has(stream) && splitPersonal(type, data)) plain++;
      }
      const last = page.at(-1);
      if (!last) return { closed, plain };
      after = last.position;
    }
  }

  async erase(subject: PersonalSubject, reason: string, by: string): Promise<Erased> {
    await this.execute({ type: 'erase', subject, reason, by }, 'erase');
    return { rows: await this.look(subject) };
  }

  async step(key: string): Promise<void> {
    const row = await this.core.readModel.get(erasureTable, key);
    if (!row) return;
    const { subject, lookedAt } = row;
    await this.look(subject);
    if (lookedAt !== null) await this.execute({ type: 'forget', subject, rows: 0 }, 'complete');
  }

  /** Destroys the key, and makes anew what had been folded with it. */
  private async look(subject: PersonalSubject): Promise<number> {
    const rows = await this.forget(subject);
    await this.execute({ type: 'forget', subject, rows: 0, partial: true }, 'looked');
    return rows;
  }

  private async forget(subject: PersonalSubject): Promise<number> {
    await this.keys.destroy(subject);
    return this.core.forget(this.log, await this.keys.refs(subject), async (rows) => {
      const step = `rows ${this.core.ids.uuid()}`;
      return (await this.execute({ type: 'forget', subject, rows, partial: true }, step)).position;
    });
  }

  private execute(command: PersonalDataCommand, step: string) {
    return this.core.commands.execute(personalData, subjectKey(command.subject), command, this.context(step));
  }

  private context(step: string): CommandContext {
    const requestId = `req-${this.core.ids.uuid()}` as RequestId;
    return {
      actor: { kind: 'service', service: 'api-gateway' },
      requestId,
      correlationId: requestId,
      causationId: null,
      commandId: `${ERASURE_PROCESS}:${step}` as CommandId,
    };
  }
}
