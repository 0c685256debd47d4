import { Controller } from '@nestjs/common';
import { invalid, notFound } from '@omnivisor/contracts';
import { type Call, Operation, Reply } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import { serverOf } from '../common/access.js';
import { MAX_TAGS, tag, tags } from '../common/parameters.js';
import { serverAggregate } from './lifecycle/server-lifecycle.js';

const compute = 'compute' as const;
const path = '/v2.1/servers/:id/tags';
const versions = ['2.26'] as const;
const rule = (name: string) => `os_compute_api:os-server-tags:${name}`;
const all = z.strictObject({ tags });

@Controller()
export class ServerTagsController {
  constructor(private readonly core: GatewayCore) {}

  @Operation({ service: compute, method: 'GET', path, versions, policy: rule('index') })
  async list(call: Call) {
    return { tags: (await this.server(call, 'index')).tags };
  }

  @Operation({ service: compute, method: 'PUT', path, versions, policy: rule('update_all'), body: all })
  async replace(call: Call) {
    const wanted = (call.body as z.infer<typeof all>).tags;
    await this.set(call, (await this.server(call, 'update_all')).id, wanted);
    return { tags: wanted };
  }

  @Operation({ service: compute, method: 'DELETE', path, versions, policy: rule('delete_all'), status: 204 })
  async clear(call: Call) {
    await this.set(call, (await this.server(call, 'delete_all')).id, []);
  }

  @Operation({ service: compute, method: 'GET', path: `${path}/:tag`, versions, policy: rule('show'), status: 204 })
  async show(call: Call) {
    const row = await this.server(call, 'show');
    if (!row.tags.includes(call.params.tag!)) throw this.missing(row.id, call.params.tag!);
  }

  @Operation({ service: compute, method: 'PUT', path: `${path}/:tag`, versions, policy: rule('update'), status: 201 })
  async put(call: Call) {
    const wanted = call.params.tag!;
    if (!tag.safeParse(wanted).success)
      throw invalid(
        `Tag '${wanted.slice(0, 255)}' is invalid. It must be a non empty string without characters '/' and ',' and be at most 60 characters long.`,
      );
    const row = await this.server(call, 'update');
    if (row.tags.includes(wanted)) return new Reply(undefined, { status: 204 });
    if (row.tags.length >= MAX_TAGS) throw invalid(`The number of tags exceeded the per-server limit ${MAX_TAGS}`);
    await this.set(call, row.id, [...row.tags, wanted].sort());
    return new Reply(undefined, { status: 201, headers: { location: `${call.publicUrl}${call.path}` } });
  }

  @Operation({
    service: compute,
    method: 'DELETE',
    path: `${path}/:tag`,
    versions,
    policy: rule('delete'),
    status: 204,
  })
  async remove(call: Call) {
    const row = await this.server(call, 'delete');
    if (!row.tags.includes(call.params.tag!)) throw this.missing(row.id, call.params.tag!);
    await this.set(
      call,
      row.id,
      row.tags.filter((t) => t !== call.params.tag),
    );
  }

  private async server(call: Call, name: string) {
    return serverOf(call, await this.core.fresh(), call.params.id!, rule(name));
  }

  private missing(id: string, wanted: string) {
    return notFound(`Server ${id} has no tag '${wanted.slice(0, 255)}'`);
  }

  private async set(call: Call, id: string, wanted: readonly string[]) {
    await this.core.commands.execute(
      serverAggregate,
      id,
      { type: 'setTags', serverId: id as never, tags: wanted },
      call.context(),
    );
  }
}
