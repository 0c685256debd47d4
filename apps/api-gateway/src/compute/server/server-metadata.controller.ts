import { Controller } from '@nestjs/common';
import { conflict, DomainError, invalid, notFound } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import { serverOf } from '../common/access.js';
import { metadata } from '../common/parameters.js';
import { ComputeSettings } from '../compute-ports.js';
import { defaultQuota } from '../quota/defaults.js';
import { limitOf, quotaAggregate } from '../quota/quota.js';
import { serverAggregate } from './lifecycle/server-lifecycle.js';
import type { ServerRow } from './view/server.projection.js';

const compute = 'compute' as const;
const path = '/v2.1/servers/:id/metadata';
const rule = (name: string) => `os_compute_api:server-metadata:${name}`;
type Metadata = Readonly<Record<string, string>>;

const whole = z.strictObject({ metadata });
const item = z.strictObject({
  meta: metadata.refine((m) => Object.keys(m).length === 1, { error: 'has not one property' }),
});
const itemMissing = () => notFound('Metadata item was not found');
/** States in which metadata may change. Source: Nova's compute API. */
const changeable = new Set(['active', 'paused', 'suspended', 'stopped']);

@Controller()
export class ServerMetadataController {
  constructor(
    private readonly core: GatewayCore,
    private readonly settings: ComputeSettings,
  ) {}

  @Operation({ service: compute, method: 'GET', path, policy: rule('index') })
  async list(call: Call) {
    return { metadata: (await this.server(call, 'index')).metadata };
  }

  @Operation({ service: compute, method: 'POST', path, policy: rule('create'), body: whole })
  async add(call: Call) {
    const added = (call.body as z.infer<typeof whole>).metadata;
    return { metadata: await this.change(call, 'create', (had) => ({ ...had, ...added })) };
  }

  @Operation({ service: compute, method: 'PUT', path, policy: rule('update_all'), body: whole })
  async replace(call: Call) {
    const wanted = (call.body as z.infer<typeof whole>).metadata;
    return { metadata: await this.change(call, 'update_all', () => wanted) };
  }

  @Operation({ service: compute, method: 'GET', path: `${path}/:key`, policy: rule('show') })
  async show(call: Call) {
    const { metadata: had } = await this.server(call, 'show');
    const key = call.params.key!;
    if (!Object.hasOwn(had, key)) throw itemMissing();
    return { meta: { [key]: had[key] } };
  }

  @Operation({ service: compute, method: 'PUT', path: `${path}/:key`, policy: rule('update'), body: item })
  async put(call: Call) {
    const { meta } = call.body as z.infer<typeof item>;
    if (!Object.hasOwn(meta, call.params.key!)) throw invalid('Request body and URI mismatch');
    await this.change(call, 'update', (had) => ({ ...had, ...meta }));
    return { meta };
  }

  @Operation({ service: compute, method: 'DELETE', path: `${path}/:key`, policy: rule('delete'), status: 204 })
  async remove(call: Call) {
    const key = call.params.key!;
    await this.change(call, 'delete', (had) => {
      if (!Object.hasOwn(had, key)) throw itemMissing();
      return Object.fromEntries(Object.entries(had).filter(([k]) => k !== key));
    });
  }

  private async server(call: Call, name: string): Promise<ServerRow> {
    return serverOf(call, await this.core.fresh(), call.params.id!, rule(name));
  }

  private async change(call: Call, name: string, next: (had: Metadata) => Metadata): Promise<Metadata> {
    const row = await this.server(call, name);
    if (!changeable.has(row.vmState))
      throw conflict(`Cannot 'update metadata' instance ${row.id} while it is in vm_state ${row.vmState}`);
    const wanted = next(row.metadata);
    const quota = await this.core.commands.load(quotaAggregate, row.projectId);
    const most = limitOf(quota, { ...defaultQuota, ...this.settings.quota }, 'metadata_items');
    if (most >= 0 && Object.keys(wanted).length > most)
      throw new DomainError('overQuota', `Maximum number of metadata items exceeds ${most}`);
    await this.core.commands.execute(
      serverAggregate,
      row.id,
      { type: 'setMetadata', serverId: row.id, metadata: wanted, asAdmin: call.isAdmin },
      call.context(),
    );
    return wanted;
  }
}
