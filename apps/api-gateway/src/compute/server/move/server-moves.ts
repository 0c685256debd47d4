import {
  type CommandContext,
  glanceFormat,
  type ImageId,
  type ImageSnapshot,
  type ReserveReply,
  type ReserveRequest,
} from '@omnivisor/contracts';
import { uuidV5 } from '@omnivisor/platform/ports';
import type { ServerCommand } from '../lifecycle/server-lifecycle.js';
import { type BuildServer, isFinal, type ServerProcessPorts } from '../lifecycle/server-process-ports.js';
import type { Migration } from '../state/server.js';
import { coldNeeds, liveNeeds, withNeeds } from './move-needs.js';
import { hostsInTheWay } from './server-migration.js';

/** What the process of a server lends to its moves. */
interface Steps {
  reservation(server: BuildServer, attempt: number): Promise<Omit<ReserveRequest, 'networkHosts'>>;
  send(server: BuildServer, command: ServerCommand, step: string): Promise<unknown>;
  context(server: BuildServer, step: string): CommandContext;
}

type Claimed = Extract<ReserveReply, { kind: 'claimed' }>;
const NOWHERE = 'No valid host was found.';

/** Takes a server to another host, or to another flavor on its own, and back. Every step may run twice. */
export class ServerMoves {
  constructor(
    private readonly ports: ServerProcessPorts,
    private readonly steps: Steps,
  ) {}

  /**
   * A resize takes its part of the quota now that no other can come between, and stays on its host where there is room;
   * everything else needs another one.
   */
  async place(server: BuildServer): Promise<void> {
    const attempt = server.attempt + 1;
    try {
      const { migration, resize } = server;
      if (resize && (migration?.kind ?? 'resize') === 'resize')
        await this.ports.takeQuota(server, this.steps.context(server, `quota-${server.generation}`));
      if (!migration || (migration.kind === 'resize' && server.attempt === migration.attempt && resize))
        await this.placeHere(server, attempt);
      else await this.placeElsewhere(server, migration, attempt);
    } catch (error) {
      if (!isFinal(error)) throw error;
      await this.refuse(server, attempt, error.message);
    }
  }

  private async placeHere(server: BuildServer, attempt: number): Promise<void> {
    const { resize, placement, migration, id: serverId } = server;
    if (!resize || !placement) return;
    const wanted = { flavor: resize.flavor, requestedHost: placement.hostName, excludeHosts: [], networkHosts: [] };
    const reply = await this.ports.reserve({ ...(await this.steps.reservation(server, attempt)), ...wanted });
    if (reply.kind === 'claimed' && reply.hostId === placement.host) {
      await this.steps.send(
        server,
        { type: 'placeResize', serverId, host: placement.host, attempt },
        `here-${attempt}`,
      );
      return;
    }
    const reason = reply.kind === 'refused' ? reply.message : NOWHERE;
    const canMove = migration && !server.adoption && (await this.ports.sends(placement.host))?.format;
    if (!canMove) return this.refuse(server, attempt, reason);
    await this.steps.send(server, { type: 'lookElsewhere', serverId, attempt, reason }, `elsewhere-${attempt}`);
  }

  private async placeElsewhere(server: BuildServer, migration: Migration, attempt: number): Promise<void> {
    const { id: serverId, placement } = server;
    if (!placement) return;
    const isLive = migration.kind === 'live-migration';
    const source = await this.ports.sends(placement.host);
    const format = source?.format;
    if (!source || (!isLive && !format)) return this.refuse(server, attempt, NOWHERE);
    if (!isLive && hasTpm(server, migration))
      return this.refuse(server, attempt, 'What a TPM keeps cannot be moved while its server is off.');
    const { requestedHost } = migration;
    const needs = isLive ? liveNeeds(source, migration) : coldNeeds(source, requestedHost !== null);
    const reply = await this.ports.reserve({
      ...(await this.steps.reservation(server, attempt)),
      flavor: withNeeds(migration.flavor, needs),
      requestedHost,
      excludeHosts: [...new Set([...hostsInTheWay(server), ...(await this.ports.strays(serverId))])],
      ...(await this.ports.network(server)),
    });
    if (reply.kind === 'refused') return this.refuse(server, attempt, reply.message);
    const disks = isLive ? null : transfersOf(migration.id, attempt, format!, migration.flavorBefore.ephemeral > 0);
    const schedule = { serverId, attempt, disks, ...placeOf(reply) };
    await this.steps.send(server, { type: 'placeMigration', serverId, schedule }, `there-${attempt}`);
  }

  private async refuse(server: BuildServer, attempt: number, message: string): Promise<void> {
    const fault = { code: 500, message };
    await this.steps.send(
      server,
      { type: 'refuseMigration', serverId: server.id, attempt, fault },
      `refuse-${attempt}`,
    );
  }

  /** The ports first: the target plugs them as soon as the server is its own. */
  async land(server: BuildServer): Promise<void> {
    const { migration, id: serverId } = server;
    if (!migration?.target) return;
    const { host, hostName, attempt } = migration.target;
    try {
      const { transfers } = migration;
      const disks = transfers && {
        root: await this.arrived(server, transfers.root),
        ephemeral: transfers.ephemeral && (await this.arrived(server, transfers.ephemeral)),
      };
      await this.ports.plug(server, { id: host, name: hostName }, this.steps.context(server, `ports-${attempt}`));
      const landing = { serverId, host, attempt, disks };
      await this.steps.send(server, { type: 'land', serverId, landing }, `land-${attempt}`);
    } catch (error) {
      // A guest that runs there already cannot be sent back.
      if (!isFinal(error) || migration.kind === 'live-migration') throw error;
      const fault = { code: 500, message: error.message };
      await this.steps.send(server, { type: 'failMigration', serverId, attempt, fault }, `fail-${attempt}`);
    }
  }

  private async arrived({ image, migration }: BuildServer, id: ImageId): Promise<ImageSnapshot> {
    const { size, sha512 } = await this.ports.sent(id);
    const { disk: diskFormat, container: containerFormat } = glanceFormat(migration!.transfers!.format);
    return { ...image, id, size, sha512, diskFormat, containerFormat };
  }

  async returnHome(server: BuildServer): Promise<void> {
    const { migration, id: serverId, generation } = server;
    if (!migration) return;
    const { host: id, hostName: name } = migration.source;
    await this.ports.plug(server, { id, name }, this.steps.context(server, `ports-back-${generation}`));
    await this.steps.send(server, { type: 'returnHome', serverId }, `return-${generation}`);
  }

  async dropTransfers(server: BuildServer): Promise<void> {
    for (const transferId of server.transfersToDrop ?? []) {
      await this.ports.dropTransfer(transferId, this.steps.context(server, `drop-${transferId}`));
      const command = { type: 'confirmTransferDropped', serverId: server.id, transferId } as const;
      await this.steps.send(server, command, `dropped-${transferId}`);
    }
  }
}

const placeOf = ({ hostId: host, kind: _, ...place }: Claimed) => ({ host, ...place });

/** Named by the migration: nobody knows its id before, so nobody can have made an image of that name. */
const transfersOf = (
  id: string,
  attempt: number,
  format: NonNullable<Migration['transfers']>['format'],
  ephemeral: boolean,
) => {
  const name = (disk: string) => uuidV5(id, `${disk}-${attempt}`) as ImageId;
  return { format, root: name('root'), ephemeral: ephemeral ? name('ephemeral') : null };
};

/** What it needs comes from the image or a flavor, of which the guest has the one before. */
const hasTpm = ({ image }: BuildServer, { flavor, flavorBefore }: Migration): boolean =>
  image.properties.hw_tpm_version !== undefined ||
  [flavor, flavorBefore].some(({ extraSpecs }) => extraSpecs['hw:tpm_version'] !== undefined);
