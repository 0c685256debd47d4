import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { ms, unavailable } from '@omnivisor/contracts';
import { MemoryEventIndex } from '@omnivisor/eventsourcing/event-index';
import { MemoryHistory, MemoryLeadership, MemoryReadModel, MemorySeat } from '@omnivisor/eventsourcing/memory';
import { MemorySealStore } from '@omnivisor/eventsourcing/seal';
import { BusTokenValidator, type Call, createOpenStackApp, type OpenStackApp } from '@omnivisor/openstack';
import { ComputeImages } from '../../apps/api-gateway/src/compute/compute-ports.js';
import { type GatewayApp, startGatewayApp } from '../../apps/api-gateway/src/gateway-app.js';
import { type ImageService, startImageService } from '../../apps/image-service/src/image-service.js';
import { MemoryImageStore } from '../../apps/image-service/src/store/index.js';
import { settings } from '../../apps/image-service/src/testing/image-cloud.js';
import { placementModule } from '../../apps/scheduler/src/placement/placement.module.js';
import { SimulatedCloud } from './cloud.js';

/** How long real time may pass over a call before simulated time does, in milliseconds. */
const PATIENCE = 100;
const ADMIN_PASSWORD = 'correct horse battery staple';

export interface ApiAnswer {
  readonly status: number;
  readonly text: string;
  readonly headers: Readonly<Record<string, string>>;
  // biome-ignore lint/suspicious/noExplicitAny: specs look into answers freely
  readonly json: any;
}

export interface ApiRequest {
  readonly token?: string | undefined;
  /** Microversion of a service that has them. */
  readonly version?: string | undefined;
  /** Sent as JSON; a text or bytes as they are. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The whole API of a cloud in one process: every service's HTTP over a simulated clock, bus, log and hosts. */
export class ApiCloud {
  /** Errors of the services themselves: 500s and what led to them. */
  readonly complaints: object[] = [];
  admin = '';

  private constructor(
    readonly cloud: SimulatedCloud,
    private readonly apps: { gateway: GatewayApp; image: ImageService; placement: OpenStackApp },
    complaints: object[],
    private readonly disks: string,
  ) {
    this.complaints = complaints;
  }

  static async start(): Promise<ApiCloud> {
    const complaints: object[] = [];
    const logger = {
      debug: () => {},
      info: () => {},
      warn: (fields: object, message: string) => void complaints.push({ ...fields, message }),
      error: (fields: object, message: string) => void complaints.push({ ...fields, message }),
    };
    const cloud = await SimulatedCloud.start({ gateways: 0, hosts: 2, signsImages: false });
    const world = { clock: cloud.clock, ids: cloud.ids, bus: cloud.bus, store: cloud.store, random: () => 0.5 };
    const tokens = new BusTokenValidator(cloud.bus);
    const image = await startImageService({
      ports: { ...world, readModel: new MemoryReadModel() },
      store: new MemoryImageStore(),
      settings: settings(),
      sandbox: null,
      tokens,
      logger,
    });
    cloud.takeDisk = async (url, bytes) => {
      const { statusCode } = await image.app.fastify.inject({
        ...{ method: 'PUT', url: url.replace(settings().internalUrl, ''), payload: await buffer(bytes) },
        headers: { 'content-type': 'application/octet-stream' },
      });
      if (statusCode !== 204) throw unavailable(`the image service answered ${statusCode}`);
    };
    const disks = mkdtempSync(join(tmpdir(), 'omnivisor-disks-'));
    cloud.giveDisk = async ({ id }, url) => {
      const { statusCode, rawPayload } = await image.app.fastify.inject({
        ...{ method: 'GET', url: url.replace(settings().internalUrl, '') },
      });
      if (statusCode !== 200) throw unavailable(`the image service answered ${statusCode}`);
      const file = join(disks, id);
      writeFileSync(file, rawPayload);
      return file;
    };
    const placement = await createOpenStackApp({
      module: placementModule(cloud.schedulers[0]!.core),
      services: ['placement'],
      lookingBack: (moment, read) => cloud.schedulers[0]!.core.lookingBack(moment, read),
      tokens: () => tokens,
      logger,
    });
    const gateway = await startGatewayApp({
      ports: { ...world, readModel: cloud.readModel, history: new MemoryHistory() },
      vault: cloud.vault,
      evidence: {
        seals: new MemorySealStore(),
        leadership: new MemoryLeadership(new MemorySeat()),
        origin: 'omnivisor/spec',
        keyDays: 365,
        places: [],
      },
      eventIndex: new MemoryEventIndex(),
      logger,
      region: 'RegionOne',
      tokenSeconds: 86_400,
      adminPassword: ADMIN_PASSWORD,
      imageUrl: 'http://image.internal',
      placementUrl: 'http://placement.internal',
      images: new ImagesWithin(image.app),
      publicUrl: undefined,
      trustedProxies: [],
      consoleOrigins: [],
      onError: (where, error) => void complaints.push({ where, error }),
    });
    cloud.gateways.push(gateway.gateway);
    const api = new ApiCloud(cloud, { gateway, image, placement }, complaints, disks);
    api.admin = await api.login('admin', ADMIN_PASSWORD, { project: { name: 'admin', domain: { id: 'default' } } });
    return api;
  }

  async call(service: string, method: string, path: string, request: ApiRequest = {}): Promise<ApiAnswer> {
    const { token, version, body } = request;
    const raw = typeof body === 'string' || Buffer.isBuffer(body);
    const asked = this.appOf(service).fastify.inject({
      method: method as 'GET',
      url: `/${service}${path}`,
      headers: {
        host: 'cloud.example',
        ...(token === undefined ? {} : { 'x-auth-token': token }),
        ...(version === undefined ? {} : { 'openstack-api-version': `${service} ${version}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...request.headers,
      },
      ...(body === undefined ? {} : { payload: raw ? body : JSON.stringify(body) }),
    });
    const answer = await (waitsForHost(method, path) ? this.whileTimePasses(asked) : asked);
    const { body: text } = answer;
    return {
      status: answer.statusCode,
      text,
      headers: answer.headers as Record<string, string>,
      json: /^[[{]/.test(text) ? JSON.parse(text) : undefined,
    };
  }

  /** For a request that waits for a host, whose time is the simulated one. */
  private async whileTimePasses<T>(answer: Promise<T>): Promise<T> {
    const done = new AbortController();
    const isAnswered = answer.then(
      () => true,
      () => true,
    );
    const isLate = () => sleep(PATIENCE, false, { signal: done.signal }).catch(() => true);
    while (!(await Promise.race([isAnswered, isLate()]))) await this.cloud.clock.advance(ms(PATIENCE));
    done.abort();
    return answer;
  }

  /** A call that has to succeed. @returns the JSON of its answer */
  // biome-ignore lint/suspicious/noExplicitAny: specs look into answers freely
  async does(service: string, method: string, path: string, request: ApiRequest = {}): Promise<any> {
    const answer = await this.call(service, method, path, request);
    if (answer.status >= 400) throw new Error(`${method} /${service}${path}: ${answer.status} ${answer.text}`);
    return answer.json;
  }

  /** @returns a token of the user for the scope */
  async login(name: string, password: string, scope: object): Promise<string> {
    const identity = { methods: ['password'], password: { user: { name, domain: { id: 'default' }, password } } };
    const answer = await this.call('identity', 'POST', '/v3/auth/tokens', { body: { auth: { identity, scope } } });
    if (answer.status !== 201) throw new Error(`login of ${name}: ${answer.status} ${answer.text}`);
    return answer.headers['x-subject-token']!;
  }

  async stop(): Promise<void> {
    const { gateway, image, placement } = this.apps;
    this.cloud.gateways.length = 0;
    await placement.close();
    await image.stop();
    rmSync(this.disks, { recursive: true });
    await this.cloud.stop();
    await gateway.stop();
  }

  private appOf(service: string): OpenStackApp {
    if (service === 'image') return this.apps.image.app;
    return service === 'placement' ? this.apps.placement : this.apps.gateway.app;
  }
}

/** All others are answered without that time passes. */
const waitsForHost = (method: string, path: string): boolean => method === 'POST' && path.includes('/os-interface');

/** Compute's way to Image within the process. */
class ImagesWithin extends ComputeImages {
  constructor(private readonly image: OpenStackApp) {
    super();
  }

  async ask(call: Call, method: 'GET' | 'PATCH' | 'DELETE', path: string, patch?: readonly object[]) {
    const answer = await this.image.fastify.inject({
      method,
      url: `/image${path}`,
      headers: {
        accept: 'application/json',
        'x-auth-token': call.headers['x-auth-token'] ?? '',
        'content-type': 'application/openstack-images-v2.1-json-patch',
      },
      ...(patch ? { payload: JSON.stringify(patch) } : {}),
    });
    return { status: answer.statusCode, body: answer.body.startsWith('{') ? answer.json() : undefined };
  }
}
