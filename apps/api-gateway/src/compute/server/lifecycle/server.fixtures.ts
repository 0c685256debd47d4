import type { EventData, ServerEvent, serverEvents } from '@omnivisor/contracts';

type Data<T extends ServerEvent['type']> = EventData<typeof serverEvents, T>;

const serverId = '5f3c7f0e-6f0c-4b32-9f0b-0d7a0c4f7a01' as Data<'ServerDeleted'>['serverId'];
const host = '0a4b8f7e-16a1-4b93-8a5e-0d7a0c4f7a02' as Data<'ServerSpawned'>['host'];
const otherHost = '0a4b8f7e-16a1-4b93-8a5e-0d7a0c4f7a03' as Data<'ServerSpawned'>['host'];

const request = {
  serverId,
  projectId: 'p1',
  userId: 'u1',
  name: 'web',
  hostname: 'web',
  description: null,
  image: {
    id: 'b9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b01',
    name: 'tiny',
    diskFormat: 'qcow2',
    containerFormat: 'bare',
    size: 1,
    minDisk: 0,
    minRam: 0,
    sha512: '00',
    properties: {},
  },
  flavor: { id: '1', name: 'm1.tiny', vcpus: 1, memory: 128, disk: 1, ephemeral: 0, swap: 0, extraSpecs: {} },
  keyName: null,
  publicKey: null,
  networks: 'none',
  securityGroups: [],
  metadata: {},
  tags: [],
  availabilityZone: null,
  requestedHost: null,
  hints: {},
  configDrive: false,
  userData: null,
  reservationId: 'r-1',
  launchIndex: 0,
} as unknown as Data<'ServerCreateRequested'>;

const schedule = (attempt: number, onHost = host): Data<'ServerScheduled'> => ({
  serverId,
  host: onHost,
  attempt,
  hostName: 'compute-1',
  node: 'compute-1',
  providerId: 'c0a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b09' as Data<'ServerScheduled'>['providerId'],
  availabilityZone: 'nova',
});

const created: ServerEvent = { type: 'ServerCreateRequested', data: request };
const portsAllocated: ServerEvent = { type: 'ServerPortsAllocated', data: { serverId, ports: [] } };
const scheduled = (attempt = 1, onHost = host): ServerEvent => ({
  type: 'ServerScheduled',
  data: schedule(attempt, onHost),
});
const spawned: ServerEvent = {
  type: 'ServerSpawned',
  data: { serverId, host, attempt: 1, power: 'running', bootId: 'b1' },
};

/** A server's history for specs. */
export const history = {
  serverId,
  host,
  otherHost,
  request,
  schedule,
  created,
  portsAllocated,
  scheduled,
  spawned,
  building: [created, portsAllocated, scheduled()],
  active: [created, portsAllocated, scheduled(), spawned],
} as const;
