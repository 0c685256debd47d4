import { type HostId, ms } from '@omnivisor/contracts';
import type { ActivePart, SchedulerCore } from '../../core/scheduler-core.js';
import { hostAggregate } from './host-lifecycle.js';

export const BEAT = ms(10_000);
export const MISSED_BEATS = 3;
const TICK = ms(2_000);
/** A tick that comes this late means that this process did not run, and heard nobody. */
const LATE = 6_000;

/**
 * Notices hosts that fell silent. A host is down when it missed three beats that this scheduler would have heard: it
 * was connected and running throughout. When many are missing at once the fault is more likely on our side, and nobody
 * is declared down.
 */
export class HostWatch implements ActivePart {
  readonly name = 'host watch';
  private readonly lastHeard = new Map<string, number>();
  /** Since when this scheduler would have heard every beat. */
  private listeningSince = 0;
  private lastTick = 0;
  private on = false;
  private cancel = () => {};
  /** Hosts missing at once, when they are too many to believe it. */
  suspicious = 0;

  constructor(private readonly core: SchedulerCore) {}

  async start(): Promise<void> {
    this.on = true;
    this.listenAnew(this.now());
    this.tick();
  }

  async stop(): Promise<void> {
    this.on = false;
    this.cancel();
    this.lastHeard.clear();
  }

  heard(hostId: string): void {
    this.lastHeard.set(hostId, this.now());
  }

  private now(): number {
    return Date.parse(this.core.clock.now());
  }

  private listenAnew(now: number): void {
    this.listeningSince = now;
    this.lastTick = now;
  }

  private tick(): void {
    if (!this.on) return;
    const now = this.now();
    if (!this.core.bus.connected() || now - this.lastTick > LATE) this.listenAnew(now);
    this.lastTick = now;
    this.judge(now).catch((error) => this.core.onError('watching hosts', error));
    this.cancel = this.core.clock.after(TICK, () => this.tick());
  }

  private async judge(now: number): Promise<void> {
    const up = [...this.core.world.hosts.values()].filter((h) => h.up && !h.retired);
    const silence = MISSED_BEATS * BEAT;
    const missing = up.filter((h) => now - Math.max(this.lastHeard.get(h.id!) ?? 0, this.listeningSince) >= silence);
    const believable = Math.max(1, Math.floor(up.length * 0.3));
    this.suspicious = missing.length > believable ? missing.length : 0;
    if (this.suspicious > 0) return;
    for (const { id, session } of missing) {
      const hostId = id as HostId;
      await this.core.commands.execute(
        hostAggregate,
        hostId,
        { type: 'down', hostId, session, missedBeats: MISSED_BEATS },
        this.core.context(`down:${hostId}:${session}:${now}`),
      );
    }
  }
}
