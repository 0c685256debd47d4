import { type HostFacts, hostBus, type Milliseconds, ms, type ProbeResult, seconds } from '@omnivisor/contracts';
import { HypervisorError } from '../drivers/hypervisor-driver.js';
import type { AgentPorts } from './ports.js';
import type { Session } from './session.js';

/** A hypervisor that dies is seen within the sum of both. */
export const LOOK = seconds(5);
const CHECK_LIMIT = seconds(4);
/** A probe runs a guest: a hypervisor that answers, and on which none runs, is probed again after this. */
const PROBE_AGAIN = seconds(30);
const PROBE_LIMIT = seconds(30);

/**
 * Looks at the hypervisor every few seconds and tells the scheduler when it has died, and when it can run guests again.
 * What runs there is not touched.
 */
export class HypervisorWatch {
  private facts: HostFacts;
  private known: ProbeResult;
  private probedAt = Number.NEGATIVE_INFINITY;
  private looking: Promise<void> | undefined;

  /** @param facts what the scheduler was told when the session began */
  constructor(
    private readonly ports: Pick<AgentPorts, 'driver' | 'clock' | 'facts' | 'onError' | 'patience'>,
    private readonly session: Session,
    facts: HostFacts,
  ) {
    const { backend } = facts;
    this.facts = facts;
    this.known = facts.probes.find((p) => p.backend === backend) ?? {
      backend,
      health: 'healthy',
      reason: '',
      version: null,
    };
  }

  /** One look at a time. Never rejects: what could not be told is told at the next one. */
  look(): Promise<void> {
    this.looking ??= this.lookOnce()
      .catch((error) => {
        if (!this.session.signal.aborted) this.ports.onError('health of the hypervisor', error);
      })
      .finally(() => {
        this.looking = undefined;
      });
    return this.looking;
  }

  private async lookOnce(): Promise<void> {
    const ailment = await this.ailment();
    if (ailment !== null) {
      if (this.known.health === 'healthy') this.ports.onError('health of the hypervisor', ailment);
      return this.tell({ ...this.known, health: 'unhealthy', reason: ailment.message });
    }
    if (this.known.health === 'healthy') return;
    const now = Date.parse(this.ports.clock.now());
    if (now - this.probedAt < PROBE_AGAIN) return;
    this.probedAt = now;
    const report = await this.within(PROBE_LIMIT, (signal) => this.ports.driver.probe(signal));
    const { health, reason, version } = report;
    const facts = health === 'healthy' ? await this.ports.facts(report) : undefined;
    await this.tell({ ...this.known, health, reason, version }, facts);
    if (health === 'healthy') this.probedAt = Number.NEGATIVE_INFINITY;
  }

  /** Why the hypervisor does not answer; null when it does. One answer that was no good is asked for again. */
  private async ailment(): Promise<Error | null> {
    try {
      await this.within(CHECK_LIMIT, async (signal) => {
        const late = new Promise<never>((_, reject) => {
          const say = () => reject(new HypervisorError('unavailable', 'the hypervisor does not answer in time'));
          signal.addEventListener('abort', say);
        });
        const again = (error: unknown) => {
          if (signal.aborted) throw error;
          if (this.known.health === 'healthy') this.ports.onError('a look at the hypervisor', error);
          return this.ports.driver.check();
        };
        await Promise.race([this.ports.driver.check().catch(again), late]);
      });
      return null;
    } catch (error) {
      return error as Error;
    }
  }

  private async within<T>(limit: Milliseconds, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const abort = new AbortController();
    const cancel = this.ports.clock.after(ms(limit * (this.ports.patience ?? 1)), () => abort.abort());
    try {
      return await work(abort.signal);
    } finally {
      cancel();
    }
  }

  private async tell(now: ProbeResult, facts = this.facts): Promise<void> {
    if (now.health === this.known.health && now.reason === this.known.reason) return;
    const others = facts.probes.filter(({ backend }) => backend !== now.backend);
    const probes = [now, ...others];
    const isNew = facts !== this.facts;
    await this.session.ask(hostBus.probed, { probes, ...(isNew ? { facts: { ...facts, probes } } : {}) });
    this.known = now;
    this.facts = facts;
  }
}
