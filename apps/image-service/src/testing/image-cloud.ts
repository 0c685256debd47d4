import { randomBytes } from 'node:crypto';
import type { TokenContext } from '@omnivisor/contracts';
import { MemoryEventStore, MemoryHistory, MemoryReadModel } from '@omnivisor/eventsourcing/memory';
import { type Clock, RandomIds, SystemClock } from '@omnivisor/platform';
import { MemoryBus } from '@omnivisor/platform/testing';
import type { ImageSettings } from '../core.js';
import type { Resolve } from '../download/guarded-fetch.js';
import { type ImageService, startImageService } from '../image-service.js';
import type { Sandbox } from '../sandbox/sandbox.js';
import { type ImageStore, MemoryImageStore } from '../store/index.js';

const person = (projectId: string | null, ...roles: string[]): TokenContext => ({
  userId: `user-of-${projectId}`,
  userName: 'user',
  userDomainId: 'default',
  userDomainName: 'Default',
  projectId,
  projectName: projectId,
  projectDomainId: 'default',
  projectDomainName: 'Default',
  domainId: null,
  domainName: null,
  system: false,
  roles: roles.map((name) => ({ id: name, name })),
  methods: ['password'],
  auditIds: [],
  issuedAt: '2026-01-01T00:00:00.000000Z',
  expiresAt: '2036-01-01T00:00:00.000000Z',
  applicationCredentialId: null,
  isAdminProject: true,
});

/** Tokens of specs. `p1` and `p2` are projects with one member each. */
const people: Readonly<Record<string, TokenContext>> = {
  admin: person('padmin', 'admin', 'member', 'reader'),
  p1: person('p1', 'member', 'reader'),
  p2: person('p2', 'member', 'reader'),
  reader: person('p1', 'reader'),
};

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
    settings: {
      maxImageSize: 64 * 1024 * 1024,
      maxUploads: 4,
      idleTimeout: 60_000,
      conversions: 2,
      formsCapacity: 1024 ** 3,
      formsMaxAge: 86_400_000,
      standstill: 60_000,
      patience: 10_000,
      imports: { ports: [80, 443], networks: [] },
      signingKey: randomBytes(32),
      internalUrl: 'http://image.internal',
      ...options.settings,
    },
    tokens: { validate: async (token) => people[token] ?? null },
    sandbox: options.sandbox ?? null,
    ...(options.resolve ? { resolve: options.resolve } : {}),
    logger: { debug: quiet, info: quiet, warn: quiet, error: (fields) => console.error(fields) },
  });
  return { ...service, bus, store, log };
};
