import { randomBytes } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import {
  DomainError,
  type EventData,
  invalid,
  type ProjectId,
  type RequestedNetwork,
  type ServerId,
  type serverEvents,
  type UserId,
  unsupported,
  type VaultRef,
} from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import type { Call } from '@omnivisor/openstack';
import { GatewayCore } from '../../../core/gateway-core.js';
import { settled } from '../../../core/settled.js';
import { ComputeNetwork, ComputeSecrets, ComputeSettings } from '../../compute-ports.js';
import { hostTable } from '../../host/host.projection.js';
import { defaultQuota, serverAmounts } from '../../quota/defaults.js';
import { limitOf, quotaAggregate, reservedBy } from '../../quota/quota.js';
import { groupOf } from '../../server-group/leave-group.js';
import { serverGroupAggregate, serverGroupNotFound } from '../../server-group/server-group.js';
import { serverGroupTable } from '../../server-group/server-group.projection.js';
import { serverAggregate } from '../lifecycle/server-lifecycle.js';
import type { CreateServerBody } from '../server.schema.js';
import { checkInjectedFiles, sealedFiles } from './injected-files.js';
import { ownerOf } from './server.reservation.js';
import { flavorFor, imageFor, keypairOf } from './server-makings.js';

type Wanted = CreateServerBody['server'];
type Request = EventData<typeof serverEvents, 'ServerCreateRequested'>;

export interface CreatedServers {
  readonly ids: readonly ServerId[];
  readonly reservationId: string;
  readonly diskConfig: 'AUTO' | 'MANUAL';
}

/** A reservation id as EC2 and Nova write it. */
export const newReservationId = (): string => `r-${[...randomBytes(8)].map((b) => (b % 36).toString(36)).join('')}`;

/** A name that a guest can have as its host name. */
export const hostnameOf = (name: string, id: string): string => {
  const clean = name
    .toLowerCase()
    .replace(/[ _]/g, '-')
    .replace(/[^a-z0-9.-]+/g, '')
    .replace(/\./g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 63)
    .replace(/-+$/, '');
  return clean === '' ? `server-${id}` : clean;
};

/** Takes the request for servers: checks everything that can be known now, takes quota, and writes it to the log. */
@Injectable()
export class ServerCreation {
  constructor(
    private readonly core: GatewayCore,
    private readonly network: ComputeNetwork,
    private readonly secrets: ComputeSecrets,
    private readonly settings: ComputeSettings,
  ) {}

  async create(call: Call): Promise<CreatedServers> {
    const body = call.body as CreateServerBody;
    const wanted = body.server;
    const { projectId, userId } = call.token;
    if (projectId === null) throw invalid('A server belongs to a project: use a token of one.');
    const hints = body['os:scheduler_hints'] ?? body['OS-SCH-HNT:scheduler_hints'] ?? {};
    const [min, max] = this.counts(wanted);
    refuseUnserved(wanted);
    const networks = requestedNetworks(call, wanted);
    if (networks !== 'none') call.enforce('os_compute_api:servers:create:attach_network');
    if (Array.isArray(networks) && max > 1 && networks.some((n) => n.portId || n.fixedIp))
      throw invalid('Unable to launch multiple instances with a single configured port ID or address.');
    if (wanted.hostname !== undefined && max > 1)
      throw invalid('Unable to allocate a single hostname to multiple instances');
    const imageId = imageOf(wanted);
    const defaults = { ...defaultQuota, ...this.settings.quota };
    const files = wanted.personality ?? [];
    if (files.length > 0) {
      const quota = await this.core.commands.load(quotaAggregate, projectId);
      checkInjectedFiles(files, (resource) => limitOf(quota, defaults, resource));
    }
    const rows = await this.core.freshFor(call);
    const [place, [flavor, image], keypair, groupId, securityGroups, resolved] = await settled([
      this.place(call, rows, wanted),
      flavorFor(call, rows, wanted.flavorRef).then(
        async (f) => [f, await imageFor(this.core, call, imageId, f)] as const,
      ),
      wanted.key_name === undefined ? null : keypairOf(rows, userId, wanted.key_name),
      this.group(rows, projectId, hints),
      this.securityGroups(call, rows, projectId, wanted, networks),
      networks === 'none' ? networks : this.network.resolve(rows, projectId, call.isAdmin, networks),
    ]);
    const mustHaveDrive = resolved !== 'none' && (await this.network.haveNoMetadata(rows, resolved));
    const metadata = { ...wanted.metadata };
    const reservationId = newReservationId();
    const ids = Array.from({ length: max }, () => this.core.ids.uuid() as ServerId);
    const { state } = await this.core.commands.execute(
      quotaAggregate,
      projectId,
      {
        type: 'reserve',
        projectId: projectId as ProjectId,
        reservations: ids.map((id) => ({ owner: ownerOf(id), amounts: serverAmounts(flavor) })),
        atLeast: min,
        metadataItems: Object.keys(metadata).length,
        defaults,
      },
      call.context('quota'),
    );
    const granted = ids.filter((id) => reservedBy(state, ownerOf(id)) !== undefined);
    const release = async (failed: readonly ServerId[]) => {
      for (const id of failed)
        await this.core.commands.execute(
          quotaAggregate,
          projectId,
          { type: 'release', projectId: projectId as ProjectId, owner: ownerOf(id) },
          call.context(`release-${id}`),
        );
    };
    try {
      if (groupId !== null)
        await this.join(call, projectId, groupId, granted, limitOf(state, defaults, 'server_group_members'));
    } catch (error) {
      if (error instanceof DomainError && error.kind !== 'unavailable') await release(granted);
      throw error;
    }
    const description = call.since('2.19') ? (wanted.description ?? null) : wanted.name.trim();
    const several = granted.length > 1 || max > 1;
    const one = async (id: ServerId, index: number): Promise<Request> => {
      const name = several ? `${wanted.name.trim()}-${index + 1}` : wanted.name.trim();
      const userData: VaultRef | null =
        wanted.user_data === undefined ? null : await this.secrets.seal(Buffer.from(wanted.user_data, 'base64'));
      return {
        serverId: id,
        projectId: projectId as ProjectId,
        userId: userId as UserId,
        name,
        hostname: wanted.hostname ?? hostnameOf(name, id),
        description,
        image,
        flavor,
        keyName: keypair?.name ?? null,
        publicKey: keypair?.publicKey ?? null,
        networks: resolved,
        securityGroups,
        metadata,
        tags: [...new Set(wanted.tags ?? [])],
        availabilityZone: place.zone,
        requestedHost: place.host,
        hints: { ...hints },
        configDrive: wanted.config_drive || mustHaveDrive,
        userData,
        ...(files.length === 0 ? {} : { injectedFiles: await this.secrets.seal(sealedFiles(files)) }),
        reservationId,
        launchIndex: index,
        ...(wanted.accessIPv4 === undefined ? {} : { accessIpV4: wanted.accessIPv4 }),
        ...(wanted.accessIPv6 === undefined ? {} : { accessIpV6: wanted.accessIPv6 }),
        ...(wanted['OS-DCF:diskConfig'] === undefined ? {} : { diskConfig: wanted['OS-DCF:diskConfig'] }),
      };
    };
    await Promise.all(
      granted.map(async (id, index) =>
        this.core.commands.execute(
          serverAggregate,
          id,
          { type: 'create', request: await one(id, index) },
          call.context(`create-${id}`),
        ),
      ),
    );
    return { ids: granted, reservationId, diskConfig: wanted['OS-DCF:diskConfig'] ?? 'MANUAL' };
  }

  private counts(wanted: Wanted): readonly [number, number] {
    const min = wanted.min_count ?? 1;
    const max = wanted.max_count ?? min;
    if (min > max) throw invalid('min_count must be <= max_count');
    if (max > MAX_AT_ONCE) throw invalid(`At most ${MAX_AT_ONCE} servers can be asked for at once.`);
    return [min, max];
  }

  private async place(
    call: Call,
    rows: RowReader,
    wanted: Wanted,
  ): Promise<{ zone: string | null; host: string | null }> {
    const parts = wanted.availability_zone?.split(':') ?? [];
    if (parts.length > 3) throw invalid('Invalid input received: Unable to parse availability_zone');
    const [zone, host, node] = parts.map((p) => (p === '' ? undefined : p));
    if (host || node) call.enforce('os_compute_api:servers:create:forced_host');
    const asked = wanted.host ?? wanted.hypervisor_hostname;
    if (asked !== undefined) {
      call.enforce('compute:servers:create:requested_destination');
      if (host || node)
        throw invalid(
          'One mechanism with host and/or hypervisor_hostname and another mechanism with zone:host:node are mutually exclusive.',
        );
    }
    const named = node ?? host ?? asked;
    if (zone === undefined && named === undefined) return { zone: null, host: null };
    const hosts = (await rows.find(hostTable)).filter((h) => !h.retired);
    if (zone !== undefined && !hosts.some((h) => h.availabilityZone === zone))
      throw invalid('The requested availability zone is not available');
    if (
      named !== undefined &&
      !hosts.some((h) => h.name === named || h.facts?.node === named || h.facts?.hostname === named)
    )
      throw invalid(`Compute host ${named} could not be found.`);
    return { zone: zone ?? null, host: named ?? null };
  }

  private async group(rows: RowReader, projectId: string, hints: Readonly<Record<string, unknown>>) {
    const hint = groupOf(hints);
    if (hint === null) return null;
    const row = await rows.get(serverGroupTable, hint);
    if (!row || row.projectId !== projectId) throw invalid(serverGroupNotFound(hint).message);
    return hint;
  }

  private async join(call: Call, projectId: string, groupId: string, ids: readonly ServerId[], limit: number) {
    for (const serverId of ids)
      await this.core.commands.execute(
        serverGroupAggregate,
        projectId,
        { type: 'join', projectId: projectId as ProjectId, groupId, serverId, limit },
        call.context(`join-${serverId}`),
      );
  }

  private async securityGroups(
    call: Call,
    rows: RowReader,
    projectId: string,
    wanted: Wanted,
    networks: Request['networks'],
  ) {
    const refs = [...new Set((wanted.security_groups ?? []).flatMap((g) => g.name ?? []))];
    if (refs.length === 0 && networks === 'none') return [];
    try {
      return await this.network.securityGroups(
        rows,
        projectId,
        refs.length === 0 ? ['default'] : refs,
        call.context('default-group'),
      );
    } catch (error) {
      if (error instanceof DomainError && (error.kind === 'notFound' || error.kind === 'conflict'))
        throw invalid(error.message);
      throw error;
    }
  }
}

/** Servers of one request. */
const MAX_AT_ONCE = 1_000;

const refuseUnserved = (wanted: Wanted): void => {
  if (wanted.trusted_image_certificates) throw unsupported('Trusted image certificates are not supported.');
  if ((wanted.block_device_mapping ?? []).length > 0) throw unsupported('Booting from a volume is not supported.');
  const devices = wanted.block_device_mapping_v2 ?? [];
  if (devices.length === 0) return;
  const [root] = devices;
  const local =
    devices.length === 1 &&
    root?.source_type === 'image' &&
    (root.destination_type ?? 'local') === 'local' &&
    Number(root.boot_index ?? -1) === 0;
  if (!local) throw unsupported('Block devices other than a local root disk made of the image are not supported.');
  const uuid = root.uuid ?? root.image_id;
  if (wanted.imageRef && uuid !== undefined && wanted.imageRef !== uuid)
    throw invalid(
      'Block Device Mapping is Invalid: boot sequence for the instance and image/block device mapping combination is not valid.',
    );
};

const imageOf = (wanted: Wanted): string => {
  const device = wanted.block_device_mapping_v2?.[0];
  const id = wanted.imageRef || device?.uuid || device?.image_id;
  if (!id) throw invalid('Missing imageRef attribute');
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id)) throw invalid('Invalid imageRef provided.');
  return id;
};

const requestedNetworks = (call: Call, wanted: Wanted): Request['networks'] => {
  const { networks } = wanted;
  if (networks === undefined) return 'auto';
  if (typeof networks === 'string') return networks;
  if (networks.length === 0) return 'auto';
  const seen = new Set<string>();
  return networks.map((n): RequestedNetwork => {
    if (!n.port && !n.uuid) throw invalid("Bad networks format: missing 'uuid'");
    if (!n.port && !/^[0-9a-f-]{32,36}$/i.test(n.uuid ?? ''))
      throw invalid(`Bad networks format: network uuid is not in proper format (${(n.uuid ?? '').slice(0, 255)})`);
    if (n.port && n.fixed_ip)
      throw invalid(
        `Specified Fixed IP '${n.fixed_ip}' cannot be used with port '${n.port}': the two cannot be specified together.`,
      );
    if (n.port && seen.has(n.port)) throw invalid(`Duplicate port: ${n.port}`);
    if (n.port) seen.add(n.port);
    return {
      networkId: (n.port ? null : (n.uuid ?? null)) as RequestedNetwork['networkId'],
      portId: (n.port ?? null) as RequestedNetwork['portId'],
      fixedIp: n.fixed_ip ?? null,
      tag: (call.since('2.32') && n.tag) || null,
    };
  });
};
