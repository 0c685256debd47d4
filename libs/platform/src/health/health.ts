import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';

export interface Check {
  readonly name: string;
  /** Throws or returns false when the dependency is not well. */
  readonly probe: () => Promise<boolean | undefined> | boolean | undefined;
  /** What does not come back without another release or an operator: meanwhile other replicas should be asked. */
  readonly lasting?: boolean;
}

export interface HealthDetail {
  readonly service: string;
  readonly ready: boolean;
  readonly uptimeSeconds: number;
  readonly dependencies: readonly { name: string; ok: boolean; reason: string | null }[];
}

const PROBE_LIMIT = 1_000;

/**
 * Health of a service. Alive means that the event loop answers. Ready means that the service caught up once since its
 * start and can answer, though the answer be a 503: a dependency that is away is told in the detail and in the metrics,
 * it restarts nobody. Only what failed for good takes a replica out of service.
 */
export class Health {
  private caughtUp = false;
  private stopping = false;
  private readonly started = Date.now();

  constructor(
    readonly service: string,
    private readonly checks: readonly Check[] = [],
  ) {}

  /** Call once the service has caught up after its start. */
  markReady(): void {
    this.caughtUp = true;
  }

  /** From now on no new work should be sent here. */
  markStopping(): void {
    this.stopping = true;
  }

  async ready(): Promise<boolean> {
    if (!this.caughtUp || this.stopping) return false;
    const lasting = await Promise.all(this.checks.filter((check) => check.lasting).map(run));
    return lasting.every(({ ok }) => ok);
  }

  async detail(): Promise<HealthDetail> {
    const dependencies = await Promise.all(this.checks.map(run));
    return {
      service: this.service,
      ready: await this.ready(),
      uptimeSeconds: Math.floor((Date.now() - this.started) / 1_000),
      dependencies,
    };
  }
}

const run = async ({ name, probe }: Check) => {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${PROBE_LIMIT} ms`)), PROBE_LIMIT);
  });
  try {
    const ok = (await Promise.race([Promise.resolve().then(probe), late])) !== false;
    return { name, ok, reason: ok ? null : 'not connected' };
  } catch (error) {
    return { name, ok: false, reason: error instanceof Error ? error.message : String(error) };
  } finally {
    clearTimeout(timer);
  }
};

/** Metrics of one service, with those of its process. */
export const metricsRegistry = (service: string): Registry => {
  const registry = new Registry();
  registry.setDefaultLabels({ service });
  // Looks at the event loop each 10 ms, the default, would be half of what an idle service does.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 500 });
  return registry;
};

/** What the detail says of each dependency, for whoever has to be woken. */
export const healthMetrics = (registry: Registry, health: Health): void => {
  new Gauge({
    name: 'omnivisor_dependency_ok',
    help: '1 while what a service rests on is well: its stores, the bus, its own reading of the log',
    labelNames: ['dependency'],
    registers: [registry],
    async collect() {
      for (const { name, ok } of (await health.detail()).dependencies) this.set({ dependency: name }, Number(ok));
    },
  });
};

export interface HealthAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

const json = (status: number, body: unknown): HealthAnswer => ({
  status,
  contentType: 'application/json',
  body: JSON.stringify(body),
});

/** Answers `/health/live`, `/health/ready`, `/health/detail` and `/metrics`; undefined for another path. */
export const answerHealth = async (
  path: string,
  health: Health,
  metrics: Registry,
): Promise<HealthAnswer | undefined> => {
  switch (path) {
    case '/health/live':
      return json(200, { alive: true });
    case '/health/ready': {
      const ready = await health.ready();
      return json(ready ? 200 : 503, { ready });
    }
    case '/health/detail':
      return json(200, await health.detail());
    case '/metrics':
      return { status: 200, contentType: metrics.contentType, body: await metrics.metrics() };
    default:
      return undefined;
  }
};
