import type { EventData, ServerId, serverEvents } from '@omnivisor/contracts';

type Request = EventData<typeof serverEvents, 'ServerCreateRequested'>;

/** A request for a small server, as the API writes it to the log. */
export const serverRequest = (
  serverId: ServerId,
  projectId: string,
  { vcpus, memory, networks = 'none' }: { vcpus: number; memory: number; networks?: Request['networks'] },
): Request =>
  ({
    serverId,
    projectId,
    userId: 'u1',
    name: 'simulated',
    hostname: 'simulated',
    description: null,
    image: {
      id: 'b9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b01',
      name: 'tiny',
      diskFormat: 'qcow2',
      containerFormat: 'bare',
      size: 1,
      minDisk: 0,
      minRam: 0,
      sha512: '0'.repeat(128),
      properties: {},
    },
    flavor: { id: '1', name: 'm1.tiny', vcpus, memory, disk: 1, ephemeral: 0, swap: 0, extraSpecs: {} },
    keyName: null,
    publicKey: null,
    networks,
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
  }) as unknown as Request;
