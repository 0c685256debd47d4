import { Balancer } from './balancer.js';
import type { ChaosCloud } from './chaos-cloud.js';
import type { Target } from './load.js';
import { Replica } from './replica.js';

/** Seconds that a replica goes on answering once it was asked to end: longer than a balancer takes to notice. */
const DRAIN = { OMNIVISOR_DRAIN_SECONDS: '1' };

const hooks = `export const load = async (url, context, next) => {
  const module = await next(url, context);
  if (!url.includes('/api-gateway/dist/') || module.source == null) return module;
  const source = module.source.toString().replace(/\\btable\\(\\s*'([a-z_]+)_v(\\d+)'/g, "table('$1_v100$2'");
  return { ...module, source };
};`;
const moduleOf = (text: string) => `data:text/javascript,${encodeURIComponent(text).replaceAll("'", '%27')}`;

/** Another release of the gateway: each of its read models has another version, and so is projected from the beginning. */
const NEXT_RELEASE = {
  NODE_OPTIONS: `--import=${moduleOf(`import { register } from 'node:module'; register(${JSON.stringify(moduleOf(hooks))});`)}`,
};

/** Two replicas of each service of a cloud, with one address for each kind, as on Kubernetes. */
export class Replicated {
  private constructor(
    private readonly chaos: ChaosCloud,
    private readonly balancers: readonly Balancer[],
    private readonly gateways: readonly Replica[],
    private readonly others: readonly Replica[],
    private readonly gatewayEnv: Readonly<Record<string, string>>,
  ) {}

  static async beside(chaos: ChaosCloud): Promise<Replicated> {
    const pair = async (service: string, env: Record<string, string>) => {
      const replicas = [
        await Replica.beside(chaos.cloud, service, { env }),
        await Replica.beside(chaos.cloud, service, { env }),
      ];
      return { replicas, balancer: await Balancer.before(replicas) };
    };
    const schedulers = await pair('scheduler', DRAIN);
    const images = await pair('image-service', DRAIN);
    const env = {
      ...DRAIN,
      OMNIVISOR_PLACEMENT_URL: schedulers.balancer.url,
      OMNIVISOR_IMAGE_URL: images.balancer.url,
    };
    const gateways = await pair('api-gateway-1', env);
    const balancers = [gateways, schedulers, images].map((p) => p.balancer);
    return new Replicated(chaos, balancers, gateways.replicas, [...schedulers.replicas, ...images.replicas], env);
  }

  /** The load asks the one address of the gateways from now on. */
  target(before: Target): Target {
    return { ...before, origins: [this.balancers[0]!.url] };
  }

  /** Restarts every process of every service, one after the other, each once the one before is ready. */
  async roll(): Promise<void> {
    for (const replica of [...this.gateways, ...this.others]) await replica.restart();
    for (const name of ['scheduler', 'image-service', 'api-gateway-1', 'api-gateway-2', 'agent'] as const)
      await this.chaos.restart(name);
  }

  /** Replaces the gateways by those of another release, whose read models are not there yet. */
  async upgrade(): Promise<void> {
    for (const gateway of this.gateways) await gateway.restart({ env: { ...this.gatewayEnv, ...NEXT_RELEASE } });
  }

  async close(): Promise<void> {
    for (const balancer of this.balancers) balancer.close();
    for (const replica of [...this.gateways, ...this.others]) await replica.stop();
  }
}
