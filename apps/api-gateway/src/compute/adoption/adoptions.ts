import { Injectable } from '@nestjs/common';
import {
  type AdoptedGuest,
  bytes,
  type CommandContext,
  cpuPolicyOf,
  type FlavorSnapshot,
  features,
  gib,
  type ImageId,
  type ImageSnapshot,
  invalid,
  mib,
  type NetworkId,
  networkNeeds,
  notFound,
  type ProjectId,
  type RequestedNetwork,
  type ServerId,
  seconds,
  type UserId,
  unsupported,
} from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { GatewayCore } from '../../core/gateway-core.js';
import { projectTable } from '../../identity/record/tables.js';
import { ComputeNetwork, ComputeSettings } from '../compute-ports.js';
import { type FlavorRow, flavorTable } from '../flavor/flavor.projection.js';
import type { HostRow } from '../host/host.projection.js';
import { hostsOf } from '../host/host-usage.js';
import { LiveAnswers, toldBy } from '../host/live-answers.js';
import { defaultQuota, serverAmounts } from '../quota/defaults.js';
import { quotaAggregate } from '../quota/quota.js';
import { ownerOf } from '../server/create/server.reservation.js';
import { hostnameOf, newReservationId } from '../server/create/server-create.js';
import { snapshotOf } from '../server/create/server-makings.js';
import { serverAggregate } from '../server/lifecycle/server-lifecycle.js';
import { firstDiskOf } from '../server/state/adopted-guest.js';
import { serverNotFound } from '../server/state/server-rules.js';
import { serverTable } from '../server/view/server.projection.js';
import { type AdoptionWanted, ForeignGuests } from './adoption.schema.js';

/** A hypervisor with thousands of guests takes its time. */
const LIST_DEADLINE = seconds(30);

/** Adopted guests were made of no image that we know. */
export const NO_IMAGE = '00000000-0000-0000-0000-000000000000' as ImageId;

/** Guests that somebody else made become servers of a project, and are given back, without a restart. */
@Injectable()
export class Adoptions {
  constructor(
    private readonly core: GatewayCore,
    private readonly live: LiveAnswers,
    private readonly network: ComputeNetwork,
    private readonly settings: ComputeSettings,
  ) {}

  /**
   * Guests of a host that carry nobody's mark, as they are now.
   * @throws DomainError `notFound` for the host, `unsupported` where its hypervisor cannot adopt, `unavailable`
   */
  async candidates(hostRef: string): Promise<AdoptedGuest[]> {
    return this.guestsOf(await this.host(await this.core.fresh(), hostRef));
  }

  /**
   * Asks for the adoption of a guest. Its host carries it out; what it refuses becomes the fault of the server, and the guest
   * stays as it was.
   * @param context makes the context of a step
   * @throws DomainError `notFound` for guest or host, `invalid` for what does not fit, `overQuota`
   */
  async adopt(
    hostRef: string,
    wanted: AdoptionWanted,
    userId: UserId,
    context: (step?: string) => CommandContext,
  ): Promise<ServerId> {
    const rows = await this.core.fresh();
    const host = await this.host(rows, hostRef);
    const guest = (await this.guestsOf(host)).find(({ nativeId }) => nativeId === wanted.guest);
    if (!guest) throw notFound(`Guest ${wanted.guest} could not be found on ${host.name}.`);
    const project = await rows.get(projectTable, wanted.project_id);
    if (!project) throw invalid(`Project ${wanted.project_id} could not be found.`);
    const projectId = project.id as string as ProjectId;
    const flavor = await this.flavor(rows, guest, wanted.flavor);
    const networks = await this.networks(rows, host, guest, projectId, wanted.ports);
    const serverId = this.core.ids.uuid() as ServerId;
    await this.core.commands.execute(
      quotaAggregate,
      projectId,
      {
        type: 'reserve',
        projectId,
        reservations: [{ owner: ownerOf(serverId), amounts: serverAmounts(flavor) }],
        atLeast: 1,
        metadataItems: 0,
        defaults: { ...defaultQuota, ...this.settings.quota },
      },
      context('quota'),
    );
    const name = wanted.name ?? guest.name;
    const request = {
      ...{ serverId, projectId, userId, name, hostname: hostnameOf(name, serverId), description: name },
      ...{ image: imageFor(host), flavor, keyName: null, publicKey: null, networks, securityGroups: [] },
      ...{ metadata: {}, tags: [], availabilityZone: null, requestedHost: host.name, hints: {} },
      ...{ configDrive: false, userData: null, reservationId: newReservationId(), launchIndex: 0 },
      adoption: guest,
    };
    await this.core.commands.execute(serverAggregate, serverId, { type: 'adopt', request }, context());
    return serverId;
  }

  /** @throws DomainError `notFound`, `conflict` for a server that was not adopted, or is in the middle of something */
  async release(serverId: string, context: CommandContext): Promise<void> {
    const server = await (await this.core.fresh()).get(serverTable, serverId);
    if (!server) throw serverNotFound(serverId);
    const command = { type: 'releaseGuest', serverId: server.id } as const;
    await this.core.commands.execute(serverAggregate, server.id, command, context);
  }

  private async host(rows: RowReader, ref: string): Promise<HostRow> {
    const host = (await hostsOf(rows)).find(({ id, name, facts }) => [id, name, facts?.node].includes(ref));
    if (!host) throw notFound(`Compute host ${ref} could not be found.`);
    return host;
  }

  private async guestsOf(host: HostRow): Promise<AdoptedGuest[]> {
    if (host.facts && !host.facts.traits.includes(features.adoption.trait))
      throw unsupported('The hypervisor of this host cannot adopt guests.');
    const answer = await this.live.ask(host.id, { kind: 'foreignGuests' }, LIST_DEADLINE);
    if (answer.unsupported) throw unsupported('The hypervisor of this host cannot adopt guests.');
    return toldBy(answer, ForeignGuests, 'The host cannot tell of its guests now.');
  }

  private async flavor(rows: RowReader, guest: AdoptedGuest, ref?: string): Promise<FlavorSnapshot> {
    const { vcpus, memory } = guest;
    const disk = firstDiskOf(guest);
    const fits = (row: FlavorRow) =>
      row.vcpus === vcpus &&
      row.ram === memory &&
      row.disk >= disk &&
      cpuPolicyOf(snapshotOf(row), { properties: {} }).policy === 'shared';
    const size = `${vcpus} vCPUs and ${memory} MiB`;
    if (ref !== undefined) {
      const row = await rows.get(flavorTable, ref);
      if (!row) throw invalid(`Flavor ${ref} could not be found.`);
      if (!fits(row))
        throw invalid(
          `Flavor ${ref} is not what the guest is: it has ${size}, a disk of ${disk} GiB, and no dedicated CPUs.`,
        );
      return snapshotOf(row);
    }
    const [row] = (await rows.find(flavorTable)).filter(fits).sort((a, b) => a.disk - b.disk || (a.id < b.id ? -1 : 1));
    if (!row) throw invalid(`No flavor has the ${size} of the guest, and room for its disk of ${disk} GiB: make one.`);
    return snapshotOf(row);
  }

  /**
   * Where the network side makes the devices of ports (QEMU), those of the guest stay what they are: nothing would guard
   * them, and their ports say so.
   */
  private async networks(
    rows: RowReader,
    { facts }: HostRow,
    guest: AdoptedGuest,
    projectId: ProjectId,
    ports: AdoptionWanted['ports'],
  ): Promise<RequestedNetwork[]> {
    const isOpen = facts?.traits.includes(networkNeeds.local.trait) === true;
    const has = new Set(guest.nics.map(({ mac }) => mac.toLowerCase()));
    const requested = ports.map(({ mac, network, fixed_ip }, i): RequestedNetwork => {
      if (!has.has(mac)) throw invalid(`The guest has no interface with the MAC address ${mac}.`);
      if (ports.findIndex((other) => other.mac === mac) !== i) throw invalid(`Duplicate MAC address: ${mac}`);
      return {
        ...{ networkId: network as NetworkId, portId: null, fixedIp: fixed_ip ?? null, tag: null, mac },
        ...(isOpen ? { portSecurity: false as const } : {}),
      };
    });
    return requested.length === 0 ? [] : this.network.resolve(rows, projectId, true, requested);
  }
}

/** In a format that the host takes: what it is made of is no reason to refuse what is there. */
const imageFor = ({ facts }: HostRow): ImageSnapshot => {
  const format = facts?.traits.find((trait) => trait.startsWith('COMPUTE_IMAGE_TYPE_'));
  return {
    ...{ id: NO_IMAGE, name: null, containerFormat: 'bare', size: bytes(0), minDisk: gib(0), minRam: mib(0) },
    ...{ sha512: '', properties: {} },
    diskFormat: format ? format.slice('COMPUTE_IMAGE_TYPE_'.length).toLowerCase() : 'raw',
  };
};
