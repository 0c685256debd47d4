import { tinyGuest } from '../../apps/compute-agent/src/drivers/common/tiny-guest.js';
import type { Client } from '../start/client.mjs';
import { eventually } from './running-cloud.js';

type Api = InstanceType<typeof Client>;
/** Placed by the flavor: what the server wants of its hypervisor. */
export interface Things {
  readonly flavors: readonly [small: string, large: string];
  readonly image: string;
  readonly network: string;
}

/** How a server's host keeps up with its steps. */
export interface Pace {
  /** For each step. */
  readonly seconds: number;
  /** Whether the guest hears what it is asked, from when on the steps go on; at once when there is none. */
  readonly hears?: (server: string) => Promise<boolean>;
  /** Told of each step that is done. */
  readonly tell?: (step: Done) => void;
}

/** What a step did to the server's stream, without what differs from host to host. */
export interface Done {
  readonly step: string;
  /** `501`, or the events in order. */
  readonly events: readonly string[] | 501;
}

interface Logged {
  readonly type: string;
  readonly position: number;
  readonly data: Readonly<Record<string, unknown>>;
}

const MIB = 2 ** 20;
const SECTOR = 512;
/** A guest of one sector that goes off when it is asked, in a disk with a partition: without one it would be no image. */
export const tinyImage = (): Buffer => {
  const disk = Buffer.concat([tinyGuest()], MIB);
  const entry = Buffer.from([0x80, 0, 2, 0, 0x83, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  entry.writeUInt32LE(64, 8);
  entry.writeUInt32LE(MIB / SECTOR - 64, 12);
  entry.copy(disk, 446);
  return disk;
};

/** What the log has of a server after a position. */
export const eventsOf = async (api: Api, id: string, after = 0): Promise<Logged[]> => {
  const url = new URL(`${api.endpoint('compute')}/../../audit/v1/events`);
  url.search = new URLSearchParams({ resource_id: id, limit: '500' }).toString();
  const answer = await fetch(url, { headers: { 'x-auth-token': api.token } });
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
  const { events } = (await answer.json()) as { events: (Logged & { stream: string })[] };
  return events
    .filter((event) => event.stream === `server-${id}` && event.position > after)
    .sort((a, b) => a.position - b.position);
};

/** One server's way through the public API. */
export class Walk {
  readonly done: Done[] = [];
  private id = '';
  private seen = 0;
  private fault = '';

  constructor(
    private readonly api: Api,
    private readonly host: string,
    private readonly things: Things,
    private readonly pace: Pace = { seconds: 90 },
  ) {}

  /** Each step in turn; each ends when the server is at rest again. */
  async walk(): Promise<void> {
    for (const [name, step] of this.steps()) await this.take(name, step);
  }

  private steps(): [string, () => Promise<unknown>][] {
    const { flavors, image, network } = this.things;
    const { api } = this;
    const path = () => `/servers/${this.id}`;
    const act = (body: object) => api.post('compute', `${path()}/action`, body);
    let port = '';
    let snapshot = '';
    return [
      ['create', () => this.create()],
      ['show', () => this.show()],
      ['list', async () => this.isListed()],
      ['set metadata', () => api.post('compute', `${path()}/metadata`, { metadata: { tier: 'one' } })],
      ['rename', () => api.put('compute', path(), { server: { name: `renamed-${this.host}` } })],
      ['console log', () => act({ 'os-getConsoleOutput': { length: 10 } })],
      ['lock', () => act({ lock: null })],
      ['unlock', () => act({ unlock: null })],
      ['pause', () => act({ pause: null })],
      ['unpause', () => act({ unpause: null })],
      ['suspend', () => act({ suspend: null })],
      ['resume', () => act({ resume: null })],
      ['soft reboot', () => act({ reboot: { type: 'SOFT' } })],
      ['hard reboot', () => act({ reboot: { type: 'HARD' } })],
      [
        'create image',
        async () => {
          snapshot = (await act({ createImage: { name: `of-${this.host}` } })).image_id;
          const status = async () => (await api.get('image', `/images/${snapshot}`)).status;
          await eventually('the image is there', status, (now) => now === 'active', this.pace.seconds);
        },
      ],
      ['rescue', () => act({ rescue: { rescue_image_ref: image } })],
      ['unrescue', () => act({ unrescue: null })],
      ['rebuild', () => act({ rebuild: { imageRef: image } })],
      ['stop', () => act({ 'os-stop': null })],
      [
        'attach interface',
        async () => {
          const wanted = { interfaceAttachment: { net_id: network } };
          port = (await api.post('compute', `${path()}/os-interface`, wanted)).interfaceAttachment.port_id;
          await this.reaches(() => this.has('ServerInterfaceAttached'));
        },
      ],
      [
        'detach interface',
        async () => {
          await api.delete('compute', `${path()}/os-interface/${port}`);
          await this.reaches(() => this.has('ServerInterfaceReleased'));
        },
      ],
      ['start', () => act({ 'os-start': null })],
      ['resize', () => act({ resize: { flavorRef: flavors[1] } })],
      ['confirm resize', () => this.settled(act({ confirmResize: null }))],
      ['resize back', () => act({ resize: { flavorRef: flavors[0] } })],
      ['revert resize', () => this.settled(act({ revertResize: null }))],
      [
        'delete',
        async () => {
          await api.delete('compute', path());
          await this.reaches(() => this.has('ServerResourcesReleased'));
        },
      ],
    ];
  }

  private async create(): Promise<void> {
    const { flavors, image, network } = this.things;
    const { server } = await this.api.post('compute', '/servers', {
      server: { name: this.host, imageRef: image, flavorRef: flavors[0], networks: [{ uuid: network }] },
    });
    this.id = server.id;
  }

  private async show(): Promise<void> {
    const { server } = await this.api.get('compute', `/servers/${this.id}`);
    if (server['OS-EXT-SRV-ATTR:host'] !== this.host)
      throw new Error(`the server is on ${server['OS-EXT-SRV-ATTR:host']}, and was meant for ${this.host}`);
    if (server.config_drive !== 'True') throw new Error('the server has no config drive');
  }

  private async isListed(): Promise<void> {
    const { servers } = await this.api.get('compute', '/servers');
    if (!servers.some((s: { id: string }) => s.id === this.id)) throw new Error('the server is not listed');
  }

  /** Quota and claim are settled after the answer. */
  private async settled(action: Promise<unknown>): Promise<void> {
    await action;
    await this.reaches(() => this.has('ServerQuotaSettled'));
  }

  private async has(type: string): Promise<boolean> {
    return (await this.news()).some((event) => event.type === type);
  }

  private news(): Promise<Logged[]> {
    return eventsOf(this.api, this.id, this.seen);
  }

  private async reaches(holds: () => Promise<boolean>): Promise<void> {
    await eventually(
      `server of ${this.host}`,
      async () => this.fault || (await holds()),
      (now) => now !== false,
      this.pace.seconds,
    );
    if (this.fault) throw new Error(this.fault);
  }

  private async isAtRest(): Promise<boolean> {
    const { server } = await this.api.get('compute', `/servers/${this.id}`);
    if (server.status === 'ERROR') this.fault = JSON.stringify(server.fault);
    return server['OS-EXT-STS:task_state'] === null;
  }

  private async take(step: string, act: () => Promise<unknown>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if ((error as { status?: number }).status !== 501)
        throw new Error(`${step} on ${this.host}: ${(error as Error).message}`, { cause: error });
      return this.note({ step, events: 501 });
    }
    if (step !== 'delete') await this.reaches(() => this.isAtRest());
    const { hears } = this.pace;
    if (step === 'create' && hears) await this.reaches(() => hears(this.id));
    const events = await this.news();
    this.seen = events.at(-1)?.position ?? this.seen;
    this.note({ step, events: events.map(words) });
  }

  private note(step: Done): void {
    this.done.push(step);
    this.pace.tell?.(step);
  }
}

/** An event with what has to be the same everywhere. */
export const words = ({ type, data }: Logged): string => {
  const { power, cause, action, fault } = data as { [name: string]: unknown };
  return [type, power, cause, action, fault && JSON.stringify(fault)].filter((word) => word != null).join(' ');
};
