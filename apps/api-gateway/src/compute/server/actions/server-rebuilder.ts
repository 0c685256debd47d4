import { Injectable } from '@nestjs/common';
import { type CpuPolicy, cpuPolicyOf, DomainError, invalid, type ServerId, unsupported } from '@omnivisor/contracts';
import { type Call, Reply } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../../core/gateway-core.js';
import { serverOf } from '../../common/access.js';
import { linksOf } from '../../common/paging.js';
import * as t from '../../common/parameters.js';
import { type FieldHistory, objectByVersion } from '../../common/versions.js';
import { ComputeSecrets, ComputeSettings } from '../../compute-ports.js';
import { defaultQuota } from '../../quota/defaults.js';
import { limitOf, quotaAggregate } from '../../quota/quota.js';
import { checkInjectedFiles, type InjectedFiles, sealedFiles } from '../create/injected-files.js';
import { imageFor, keypairOf } from '../create/server-makings.js';
import { newPassword } from '../create/server-password.js';
import { serverAggregate } from '../lifecycle/server-lifecycle.js';
import type { ServerRow } from '../view/server.projection.js';
import { serverRebuildView } from '../view/server.view.js';
import { ServerPresenter } from '../view/server-presenter.js';
import { HostOfImage } from './host-of-image.js';
import { guardRebuild, type RebuildCommand } from './server-rebuild.js';

const always = (schema: z.ZodType): FieldHistory => [['2.1', schema]];
export const rebuildSchema = objectByVersion({
  imageRef: always(t.uuid),
  name: always(t.name.optional()),
  adminPass: always(z.string().optional()),
  metadata: always(t.metadata.optional()),
  preserve_ephemeral: always(t.boolean.optional()),
  'OS-DCF:diskConfig': always(t.diskConfig.optional()),
  accessIPv4: always(t.ipv4.optional()),
  accessIPv6: always(t.ipv6.optional()),
  personality: [
    ['2.1', t.personality.optional()],
    ['2.57', null],
  ],
  description: [['2.19', t.description.optional()]],
  key_name: [['2.54', t.name.nullable().optional()]],
  user_data: [['2.57', t.base64.nullable().optional()]],
  trusted_image_certificates: [['2.63', t.trustedCertificates.optional()]],
  hostname: [
    ['2.90', t.hostname.optional()],
    ['2.94', t.fqdn.optional()],
  ],
});

interface Wanted {
  readonly imageRef: string;
  readonly name?: string;
  readonly adminPass?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly preserve_ephemeral?: boolean;
  readonly 'OS-DCF:diskConfig'?: 'AUTO' | 'MANUAL';
  readonly accessIPv4?: string;
  readonly accessIPv6?: string;
  readonly personality?: InjectedFiles;
  readonly description?: string | null;
  readonly key_name?: string | null;
  readonly user_data?: string | null;
  readonly trusted_image_certificates?: readonly string[] | null;
  readonly hostname?: string;
}

/** Takes the wish to make a server's disks anew: checks what can be known now, and writes it to the log. */
@Injectable()
export class ServerRebuilder {
  constructor(
    private readonly core: GatewayCore,
    private readonly secrets: ComputeSecrets,
    private readonly settings: ComputeSettings,
    private readonly presenter: ServerPresenter,
    private readonly host: HostOfImage,
  ) {}

  async rebuild(call: Call, row: ServerRow, wanted: Wanted): Promise<Reply> {
    guardRebuild(row, row.id, call.isAdmin);
    if (wanted.trusted_image_certificates) throw unsupported('Trusted image certificates are not supported.');
    if (wanted.preserve_ephemeral)
      throw invalid('The current driver does not support preserving ephemeral partitions.');
    await this.checkQuota(row, wanted);
    const image = await imageFor(this.core, call, wanted.imageRef, row.flavor, 'Cannot find image for rebuild');
    if (!isSamePolicy(cpuPolicyOf(row.flavor, row.image), cpuPolicyOf(row.flavor, image)))
      throw invalid(
        "An instance's NUMA topology cannot be changed as part of a rebuild. The image provided is invalid for this instance.",
      );
    if (image.id !== row.image.id) await this.host.check(row, image, 'rebuild');
    const rebuilt: RebuildCommand['wanted'] = { image, ...kept(wanted), ...(await this.key(call, wanted)) };
    const command: RebuildCommand = {
      type: 'rebuild',
      serverId: row.id,
      wanted: { ...rebuilt, ...(await this.sealed(wanted)) },
      asAdmin: call.isAdmin,
    };
    await this.core.commands.execute(serverAggregate, row.id, command, call.context());
    return this.shown(call, row.id, wanted.adminPass ?? newPassword());
  }

  private async checkQuota({ projectId }: ServerRow, { metadata, personality }: Wanted): Promise<void> {
    if (!metadata && !personality) return;
    const quota = await this.core.commands.load(quotaAggregate, projectId);
    const most = (resource: string) => limitOf(quota, { ...defaultQuota, ...this.settings.quota }, resource);
    const items = most('metadata_items');
    if (items >= 0 && Object.keys(metadata ?? {}).length > items)
      throw new DomainError('overQuota', `Maximum number of metadata items exceeds ${items}`);
    checkInjectedFiles(personality ?? [], most);
  }

  /** Keys are their user's: the caller's own one is meant. */
  private async key(call: Call, { key_name: name }: Wanted) {
    if (name === undefined) return {};
    if (name === null) return { keyName: null, publicKey: null };
    const { publicKey } = await keypairOf(await this.core.fresh(), call.token.userId, name);
    return { keyName: name, publicKey };
  }

  private async sealed({ user_data: data, personality }: Wanted) {
    return {
      ...(data === undefined ? {} : { userData: data ? await this.secrets.seal(Buffer.from(data, 'base64')) : null }),
      ...(personality?.length ? { injectedFiles: await this.secrets.seal(sealedFiles(personality)) } : {}),
    };
  }

  private async shown(call: Call, id: ServerId, adminPass: string): Promise<Reply> {
    const rows = await this.core.fresh();
    const row = await serverOf(call, rows, id, 'os_compute_api:servers:rebuild');
    const context = await this.presenter.context(call, rows, [row], true);
    const userData =
      row.userData && call.since('2.57') ? (await this.secrets.open(row.userData)).toString('base64') : null;
    const server = {
      ...serverRebuildView.render(call.version, row, context),
      adminPass,
      ...(call.since('2.54') ? { key_name: row.keyName } : {}),
      ...(call.since('2.57') ? { user_data: userData } : {}),
    };
    return new Reply(
      { server },
      { status: 202, headers: { location: linksOf(call.publicUrl, 'servers', id)[0]!.href } },
    );
  }
}

/** What goes into the log as it was asked for. */
const kept = ({ name, metadata, description, hostname, ...wanted }: Wanted) => ({
  ...(name === undefined ? {} : { name: name.trim() }),
  ...(metadata === undefined ? {} : { metadata: { ...metadata } }),
  ...(description === undefined ? {} : { description }),
  ...(hostname === undefined ? {} : { hostname }),
  ...(wanted.accessIPv4 === undefined ? {} : { accessIpV4: wanted.accessIPv4 }),
  ...(wanted.accessIPv6 === undefined ? {} : { accessIpV6: wanted.accessIPv6 }),
  ...(wanted['OS-DCF:diskConfig'] === undefined ? {} : { diskConfig: wanted['OS-DCF:diskConfig'] }),
});

/** What it has of its host's processors stays as it is. */
const isSamePolicy = (a: CpuPolicy, b: CpuPolicy): boolean =>
  a.policy === b.policy && (a.policy === 'shared' || a.threads === b.threads);
