import { type HostFacts, hostBus, type Milliseconds, ms, type ProbeResult, seconds } from '@omnivisor/contracts';
import { HypervisorError, type ProbeReport } from '../drivers/hypervisor-driver.js';
import type { AgentPorts } from './ports.js';
import { Semaphore } from './semaphore.js';
import type { Session } from './session.js';

/** A hypervisor that dies is seen within the sum of both. */
export const LOOK = seconds(5);
const CHECK_LIMIT = seconds(4);
/** A probe runs a guest: a hypervisor that answers, and on which none runs, is probed again after this. */
const PROBE_AGAIN = seconds(30);
const PROBE_LIMIT = seconds(30);
/** Of a large pool, what it has takes many questions. */
const SURVEY_LIMIT = seconds(120);
/** What a host has is asked for anew this often, give or take a fifth. */
const SURVEY = seconds(300);

/**
 * Looks at the hypervisor every few seconds and tells the scheduler when it has died, and when it can run guests again; and
 * every few minutes at what it has. What runs there is not touched.
 */
export class HypervisorWatch {
  private facts: HostFacts;
  private known: ProbeResult;
  /** What the last probe found; until there was one, what the agent began with. */
  private report: ProbeReport | undefined;
  private probedAt = Number.NEGATIVE_INFINITY;
  private surveyAt: number;
  private looking: Promise<void> | undefined;
  private surveying: Promise<void> | undefined;
  /** One is told before the next is thought of. */
  private readonly telling = new Semaphore(1);

  /** @param facts what the scheduler was told when the session began */
  constructor(
    private readonly ports: Pick<
      AgentPorts,
      'driver' | 'clock' | 'facts' | 'onError' | 'patience' | 'random' | 'surveyEvery'
    >,
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
    this.surveyAt = this.nextSurvey();
  }

  /** One look at a time. Never rejects: what could not be told is told at the next one. */
  look(): Promise<void> {
    this.looking ??= this.lookOnce()
      .catch((error) => this.failed('health of the hypervisor', error))
      .finally(() => {
        this.looking = undefined;
      });
    return this.looking;
  }

  private async lookOnce(): Promise<void> {
    const ailment = await this.ailment();
    if (ailment !== null) {
      if (this.known.health === 'healthy') this.ports.onError('health of the hypervisor', ailment);
      return this.tell({ health: 'unhealthy', reason: ailment.message });
    }
    const now = this.now();
    if (this.known.health === 'healthy') {
      if (now >= this.surveyAt) void this.survey();
      return;
    }
    if (now - this.probedAt < PROBE_AGAIN) return;
    this.probedAt = now;
    const report = await this.within(PROBE_LIMIT, (signal) => this.ports.driver.probe(signal));
    const { health, reason, version } = report;
    const facts = health === 'healthy' ? await this.ports.facts(report) : undefined;
    await this.tell({ health, reason, version }, facts);
    if (health !== 'healthy') return;
    this.report = report;
    this.probedAt = Number.NEGATIVE_INFINITY;
    this.surveyAt = this.nextSurvey();
  }

  /**
   * Asks a hypervisor that is well for what it has, without running a guest, and tells what has changed. It may take longer
   * than a look, and does not keep the next one waiting.
   */
  private survey(): Promise<void> {
    this.surveying ??= this.surveyOnce()
      .catch((error) => this.failed('what the hypervisor has', error))
      .finally(() => {
        this.surveyAt = this.nextSurvey();
        this.surveying = undefined;
      });
    return this.surveying;
  }

  private async surveyOnce(): Promise<void> {
    const { health, reason } = this.known;
    let facts: HostFacts;
    let version = this.known.version;
    try {
      const seen = await this.answered(SURVEY_LIMIT, async () => {
        const survey = await this.ports.driver.survey?.();
        const report = survey ? { ...survey, health, reason } : this.report;
        return { report, facts: await this.ports.facts(report), version: survey ? survey.version : version };
      });
      ({ facts, version } = seen);
      this.report = seen.report;
    } catch (error) {
      // Away for a moment, as the next look will tell; but who is refused what was given before has lost a right.
      if (!(error instanceof HypervisorError) || error.code === 'unavailable') throw error;
      this.ports.onError('what the hypervisor has', error);
      return this.tell({ health: 'unhealthy', reason: error.message });
    }
    // It was found ill meanwhile: a probe tells of it when it is well again.
    if (this.known.health === health) await this.tell({ version }, facts);
  }

  private now(): number {
    return Date.parse(this.ports.clock.now());
  }

  private nextSurvey(): number {
    return this.now() + (this.ports.surveyEvery ?? SURVEY) * (0.8 + 0.4 * this.ports.random());
  }

  private failed(where: string, error: unknown): void {
    if (!this.session.signal.aborted) this.ports.onError(where, error);
  }

  /** Why the hypervisor does not answer; null when it does. One answer that was no good is asked for again. */
  private async ailment(): Promise<Error | null> {
    try {
      await this.answered(CHECK_LIMIT, (signal) =>
        this.ports.driver.check().catch((error: unknown) => {
          if (signal.aborted) throw error;
          if (this.known.health === 'healthy') this.ports.onError('a look at the hypervisor', error);
          return this.ports.driver.check();
        }),
      );
      return null;
    } catch (error) {
      return error as Error;
    }
  }

  /** @throws HypervisorError `unavailable` when the answer does not come in time; what comes later is of no account */
  private answered<T>(limit: Milliseconds, ask: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.within(limit, (signal) => {
      const late = new Promise<never>((_, reject) => {
        const say = () => reject(new HypervisorError('unavailable', 'the hypervisor does not answer in time'));
        signal.addEventListener('abort', say);
      });
      return Promise.race([ask(signal), late]);
    });
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

  /** @param facts what the host is now, where it was looked at anew */
  private tell(change: Partial<ProbeResult>, facts?: HostFacts): Promise<void> {
    return this.telling.use(async () => {
      const now = { ...this.known, ...change };
      const isOther = facts !== undefined && textOf(facts) !== textOf(this.facts);
      const isWell = now.health === 'healthy' && this.known.health !== 'healthy';
      if (!isOther && now.health === this.known.health && now.reason === this.known.reason) return;
      const others = this.facts.probes.filter(({ backend }) => backend !== now.backend);
      const probes = [now, ...others];
      const told = facts && (isOther || isWell) ? { ...facts, probes } : undefined;
      await this.session.ask(hostBus.probed, { probes, ...(told ? { facts: told } : {}) });
      this.known = now;
      this.facts = told ?? this.facts;
    }, this.session.signal);
  }
}

/** Of what a host has and is, but for how it is. */
const textOf = ({ probes: _, ...facts }: HostFacts): string => JSON.stringify(facts);
