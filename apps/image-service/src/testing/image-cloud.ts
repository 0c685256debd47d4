import { randomBytes } from 'node:crypto';
import type { TokenContext } from '@omnivisor/contracts';
import { MemoryEventStore, MemoryHistory, MemoryReadModel } from '@omnivisor/eventsourcing/memory';
import { person } from '@omnivisor/openstack/testing';
import { type Clock, RandomIds, SystemClock } from '@omnivisor/platform';
import { MemoryBus } from '@omnivisor/platform/testing';
import type { ImageSettings } from '../core.js';
import type { Resolve } from '../download/guarded-fetch.js';
import { type ImageService, startImageService } from '../image-service.js';
import type { Sandbox } from '../sandbox/sandbox.js';
import { type ImageStore, MemoryImageStore } from '../store/index.js';
import { lookProgram } from './look-program.js';

const token = (projectId: string, ...roles: string[]) => person(projectId, `user-of-${projectId}`, roles);

/** Tokens of specs. `p1` and `p2` are projects with one member each. */
const people: Readonly<Record<string, TokenContext>> = {
  admin: token('padmin', 'admin', 'member', 'reader'),
  p1: token('p1', 'member', 'reader'),
  p2: token('p2', 'member', 'reader'),
  reader: token('p1', 'reader'),
};

/** Settings of a service for specs. */
export const settings = (): ImageSettings => ({
  maxImageSize: 64 * 1024 * 1024,
  maxUploads: 4,
  idleTimeout: 60_000,
  leastRate: 16 * 1024,
  conversions: 2,
  formsCapacity: 1024 ** 3,
  formsMaxAge: 86_400_000,
  standstill: 60_000,
  patience: 10_000,
  imports: { ports: [80, 443], networks: [] },
  signingKey: randomBytes(32),
  internalUrl: 'http://image.internal',
});

export interface ImageCloud extends ImageService {
  readonly bus: MemoryBus;
  readonly store: ImageStore;
  readonly log: MemoryEventStore;
}

/** An image service on ports in memory. */
export const startImageCloud = async (
  options: {
    settings?: Partial<ImageSettings>;
    store?: ImageStore;
    clock?: Clock;
    sandbox?: Sandbox;
    resolve?: Resolve;
    log?: MemoryEventStore;
  } = {},
): Promise<ImageCloud> => {
  const clock = options.clock ?? new SystemClock();
  const ids = new RandomIds();
  const bus = new MemoryBus(clock);
  const log = options.log ?? new MemoryEventStore(clock, ids);
  const store = options.store ?? new MemoryImageStore();
  const quiet = () => {};
  const service = await startImageService({
    ports: {
      clock,
      bus,
      ids,
      store: log,
      readModel: new MemoryReadModel(),
      history: new MemoryHistory(),
      random: Math.random,
    },
    store,
    settings: { ...settings(), ...options.settings },
    tokens: { validate: async (token) => people[token] ?? null },
    sandbox: options.sandbox ?? null,
    ...(options.sandbox ? { look: { program: await lookProgram() } } : {}),
    ...(options.resolve ? { resolve: options.resolve } : {}),
    logger: { debug: quiet, info: quiet, warn: quiet, error: (fields) => console.error(fields) },
  });
  return { ...service, bus, store, log };
};
