import { after, argumentsOf, conflict, invalid, type Milliseconds, unavailable } from '@omnivisor/contracts';
import { readerPermissions, signUser } from '@omnivisor/platform';
import { z } from 'zod';
import { AdminCommands, operatorContext, UserKey } from '../admin/admin-commands.js';
import type { ActivePart, SchedulerCore } from '../core/scheduler-core.js';
import { type FeedReader, type FeedReaderCommand, feedReaderAggregate } from './feed-reader.js';

const ReaderName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'is no name: small letters, digits, hyphens');
const Named = z.object({ name: ReaderName });
const Admit = Named.extend({
  publicKey: UserKey,
  feeds: z.array(z.enum(['cadf', 'notifications', 'events'])).min(1),
  /** Of the CADF feed only the matters of this project. */
  project: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}$/, 'is no project')
    .optional(),
  days: z.number().int().min(1).max(3_660),
});
type Admit = z.output<typeof Admit>;

const DAY = 86_400_000;

/** What is published of the log, by feed. */
const SUBJECTS = { cadf: 'cadf.>', notifications: 'versioned_notifications.>', events: 'events.>' } as const;
const subjectsOf = ({ feeds, project }: Admit): string[] => {
  if (project === undefined) return [...new Set(feeds)].map((feed) => SUBJECTS[feed]);
  return [`cadf.project.${project}`];
};

const view = ({ name, publicKey, subjects, expiresAt }: FeedReader) => ({
  name,
  subjects,
  expiresAt,
  revoked: publicKey === null,
});

/** Answers `omnivisor feed …`: who outside may hear what is published of the log. */
export class FeedDesk implements ActivePart {
  readonly name = 'feed desk';
  private readonly commands: AdminCommands;

  constructor(
    private readonly core: SchedulerCore,
    private readonly accountSeed: string | undefined,
    private readonly revokesKeys: boolean,
  ) {
    this.commands = new AdminCommands(core.bus, {
      'feed-list': () => this.list(),
      'feed-admit': (args) => this.admit(argumentsOf(Admit, args)),
      'feed-revoke': (args) => this.revoke(argumentsOf(Named, args).name),
    });
  }

  start(): Promise<void> {
    return this.commands.start();
  }

  stop(): Promise<void> {
    return this.commands.stop();
  }

  private async list() {
    const { readers } = await this.core.fresh();
    return [...readers.values()].sort((a, b) => (a.name < b.name ? -1 : 1)).map(view);
  }

  private async admit(args: Admit) {
    const { name, publicKey, days, feeds, project } = args;
    if (project !== undefined && feeds.join() !== 'cadf') throw invalid('of a project there is the feed cadf only');
    if (!this.accountSeed) throw unavailable('the scheduler signs no keys: it was started without the account seed');
    const { hosts, readers, retiredKeys } = await this.core.fresh();
    const isHosts = [...hosts.values()].some((host) => host.publicKey === publicKey);
    if (isHosts) throw conflict('this key is that of a host');
    if (retiredKeys.has(publicKey)) throw conflict('this key was revoked: make another one');
    const isOthers = [...readers.values()].some((other) => other.publicKey === publicKey && other.name !== name);
    if (isOthers) throw conflict('this key is that of another reader');
    const subjects = subjectsOf(args);
    const before = readers.get(name);
    // What was signed for this key before stays good until it expires.
    if (before?.publicKey === publicKey && before.subjects.some((subject) => !subjects.includes(subject)))
      throw conflict('this reader may hear more by now: revoke it, and admit it with another key');
    const expiresAt = after(this.core.clock.now(), (days * DAY) as Milliseconds);
    const reader = await this.send({ type: 'admit', name, publicKey, subjects, expiresAt });
    const permissions = readerPermissions(name, reader.subjects);
    const jwt = await signUser(this.accountSeed, `reader ${name}`, publicKey, permissions, {
      expires: Date.parse(expiresAt),
    });
    return { ...view(reader), jwt };
  }

  private async revoke(name: string) {
    const { readers } = await this.core.fresh();
    const key = readers.get(name)?.publicKey;
    const reader = await this.send({ type: 'revoke', name });
    const note = `NATS lets its key connect until it expires: revoke ${key} there`;
    return this.revokesKeys || !key ? view(reader) : { ...view(reader), note };
  }

  private async send(command: FeedReaderCommand): Promise<FeedReader> {
    const by = operatorContext(this.core);
    return (await this.core.commands.execute(feedReaderAggregate, command.name, command, by)).state;
  }
}
