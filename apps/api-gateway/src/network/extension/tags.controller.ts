import { Controller } from '@nestjs/common';
import { type Call, Operation, Reply } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import { ifRevision, type Kind, permitted, visible } from '../common/collection.js';
import { badRequest, neutronError } from '../common/errors.js';
import { network } from '../network/network.js';
import { networkKind } from '../network/network.kind.js';
import { port } from '../port/port.js';
import { portKind } from '../port/port.kind.js';
import { securityGroup } from '../security-group/security-group.js';
import { securityGroupKind } from '../security-group/security-group.kind.js';
import { subnet } from '../subnet/subnet.js';
import { subnetKind } from '../subnet/subnet.kind.js';

interface Tagged {
  readonly id: string;
  readonly tags: readonly string[];
}
type Change = { readonly tags: readonly string[]; readonly ifRevision: number | undefined };

const kinds = {
  networks: networkKind,
  subnets: subnetKind,
  ports: portKind,
  'security-groups': securityGroupKind,
} as unknown as Readonly<Record<string, Kind<Tagged>>>;

const MAX_TAGS = 50;
const route = (method: 'GET' | 'PUT' | 'DELETE' | 'POST', path: string, status = 200, body = false) =>
  Operation({
    service: 'network',
    method,
    path: `/v2.0/:kind(networks|subnets|ports|security-groups)/:id/tags${path}`,
    policy: 'authenticated',
    status,
    ...(body ? { body: z.unknown() } : {}),
  });

const tagsOf = (list: unknown): string[] => {
  if (!Array.isArray(list) || list.some((t) => typeof t !== 'string' || t.length === 0 || t.length > 255))
    throw badRequest('Invalid input for tags. Reason: a list of texts of at most 255 characters is wanted.');
  if (list.length > MAX_TAGS)
    throw badRequest(`Invalid input for tags. Reason: Exceeded maximum amount of tags: ${MAX_TAGS}.`);
  return [...new Set(list as string[])];
};

/** Tags of everything that has some. */
@Controller()
export class NetworkTagsController {
  constructor(private readonly core: GatewayCore) {}

  @route('GET', '')
  async all(call: Call) {
    return { tags: (await this.seen(call)).tags };
  }

  @route('GET', '/:tag', 204)
  async one(call: Call) {
    this.found(await this.seen(call), call.params.tag ?? '');
    return new Reply(undefined);
  }

  @route('PUT', '', 200, true)
  async replace(call: Call) {
    const body = call.body as { tags?: unknown } | null;
    if (body === null || typeof body !== 'object' || !Object.hasOwn(body, 'tags'))
      throw badRequest("Unable to find 'tags' in request body");
    const tags = tagsOf(body.tags);
    await this.change(call, () => tags);
    return { tags };
  }

  @route('POST', '', 200, true)
  async addAll(call: Call) {
    const body = call.body as { tags?: unknown } | null;
    if (body === null || typeof body !== 'object' || !Object.hasOwn(body, 'tags'))
      throw badRequest("Unable to find 'tags' in request body");
    const more = tagsOf(body.tags);
    return { tags: await this.change(call, (row) => [...new Set([...row.tags, ...more])]) };
  }

  @route('PUT', '/:tag', 201)
  async add(call: Call) {
    await this.change(call, (row) => [...new Set([...row.tags, call.params.tag ?? ''])]);
    return new Reply(undefined);
  }

  @route('DELETE', '', 204)
  async clear(call: Call) {
    await this.change(call, () => []);
    return new Reply(undefined);
  }

  @route('DELETE', '/:tag', 204)
  async remove(call: Call) {
    await this.change(call, (row) => {
      this.found(row, call.params.tag ?? '');
      return row.tags.filter((t) => t !== call.params.tag);
    });
    return new Reply(undefined);
  }

  private found(row: Tagged, tag: string): void {
    if (!row.tags.includes(tag)) throw neutronError('notFound', 'TagNotFound', `Tag ${tag} could not be found.`);
  }

  private async seen(call: Call): Promise<Tagged> {
    const { kind = '', id = '' } = call.params;
    return visible(kinds[kind]!, await this.core.fresh(), call, id);
  }

  private async change(call: Call, to: (row: Tagged) => readonly string[]): Promise<readonly string[]> {
    const { kind = '', id = '' } = call.params;
    const row = await permitted(kinds[kind]!, await this.core.fresh(), call, id, 'update');
    const change: Change = { tags: tagsOf([...to(row)]), ifRevision: ifRevision(call) };
    const { commands } = this.core;
    const tag = { type: 'tag' as const, ...change };
    switch (kind) {
      case 'networks':
        await commands.execute(network, id, { ...tag, networkId: id as never }, call.context());
        break;
      case 'subnets':
        await commands.execute(subnet, id, { ...tag, subnetId: id as never }, call.context());
        break;
      case 'ports':
        await commands.execute(port, id, { ...tag, portId: id as never }, call.context());
        break;
      default:
        await commands.execute(securityGroup, id, { ...tag, securityGroupId: id as never }, call.context());
    }
    return change.tags;
  }
}
