import { Admin } from './admin/admin.js';
import { Presence } from './core/presence.js';
import { SchedulerCore, type SchedulerPorts } from './core/scheduler-core.js';
import { defaultSettings, type SchedulerSettings } from './core/settings.js';
import { FeedDesk } from './feed-reader/feed-desk.js';
import { HindsightDesk } from './hindsight/hindsight-desk.js';
import { HostDesk } from './scheduling/host/host-desk.js';
import { HostWatch } from './scheduling/host/host-watch.js';
import { RetiredKeys, type RevokeKeys } from './scheduling/host/retired-keys.js';
import { ImageJudge } from './scheduling/image-judge.js';
import { Releases } from './scheduling/releases.js';
import { Reserve } from './scheduling/reserve.js';

export interface SchedulerOptions {
  readonly settings?: SchedulerSettings;
  /** Told to each agent, and part of the mark on its guests. */
  readonly cloudId: string;
  /** Signs the claims of newly enrolled hosts; without it hosts are enrolled with a public key and sign nothing. */
  readonly natsAccountSeed?: string;
  /** Has the bus refuse these keys for good; without it an operator does that by hand. */
  readonly revokeKeys?: RevokeKeys;
  readonly onError: (where: string, error: unknown) => void;
}

/** The whole scheduler as plain code on ports. */
export class Scheduler {
  readonly core: SchedulerCore;
  readonly reserve: Reserve;
  readonly watch: HostWatch;

  constructor(ports: SchedulerPorts, options: SchedulerOptions) {
    this.core = new SchedulerCore(ports, options.settings ?? defaultSettings, options.onError);
    this.reserve = new Reserve(this.core);
    this.watch = new HostWatch(this.core);
    this.core.whileActive(new Presence(this.core));
    this.core.whileActive(this.watch);
    this.core.whileActive(new HostDesk(this.core, this.watch, options.cloudId));
    this.core.whileActive(this.reserve);
    this.core.whileActive(new ImageJudge(this.core));
    this.core.whileActive(new Releases(this.core));
    const { natsAccountSeed, revokeKeys } = options;
    if (revokeKeys) this.core.whileActive(new RetiredKeys(this.core, revokeKeys));
    this.core.whileActive(new HindsightDesk(this.core));
    this.core.whileActive(new Admin(this.core, natsAccountSeed, revokeKeys !== undefined));
    this.core.whileActive(new FeedDesk(this.core, natsAccountSeed, revokeKeys !== undefined));
  }

  start(): Promise<void> {
    return this.core.start();
  }

  stop(): Promise<void> {
    return this.core.stop();
  }
}
