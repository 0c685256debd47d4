import { Controller } from '@nestjs/common';
import { conflict, DomainError, forbidden, ImageId, invalid, notFound } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import { last, nextLink, pageSize, type Query } from '../common/paging.js';
import * as t from '../common/parameters.js';
import { ComputeImages, ComputeSettings } from '../compute-ports.js';
import { defaultQuota } from '../quota/defaults.js';
import { limitOf, quotaAggregate } from '../quota/quota.js';
import { type GlanceImage, imageBrief, imageDetail, metadataOf } from './image-proxy.view.js';

const compute = 'compute' as const;
const path = '/v2.1/images';
const item = `${path}/:id/metadata`;
/** Clients that are newer ask Image itself. */
const UNTIL_PROXIES: [string, string] = ['2.1', '2.35'];
const UNTIL_METADATA: [string, string] = ['2.1', '2.38'];
const policy = 'authenticated';

const whole = z.strictObject({ metadata: t.metadata });
const one = z.strictObject({
  meta: t.metadata.refine((m) => Object.keys(m).length === 1, { error: 'has not one property' }),
});
const number = z.array(z.string().regex(/^[0-9]*$/));
const listQuery = z.looseObject({
  limit: number.optional(),
  page_size: number.optional(),
  offset: number.optional(),
});

type Metadata = Readonly<Record<string, string>>;
type Listed = { readonly images: readonly GlanceImage[] };

/** Images as Compute showed them before 2.36: Image's own, asked for in the caller's name. */
@Controller()
export class ImageProxyController {
  constructor(
    private readonly core: GatewayCore,
    private readonly images: ComputeImages,
    private readonly settings: ComputeSettings,
  ) {}

  @Operation({ service: compute, method: 'GET', path, policy, versions: UNTIL_PROXIES, query: listQuery })
  list(call: Call) {
    return this.page(call, imageBrief);
  }

  @Operation({
    service: compute,
    method: 'GET',
    path: `${path}/detail`,
    policy,
    versions: UNTIL_PROXIES,
    query: listQuery,
  })
  detail(call: Call) {
    return this.page(call, imageDetail);
  }

  @Operation({ service: compute, method: 'GET', path: `${path}/:id`, policy, versions: UNTIL_PROXIES })
  async show(call: Call) {
    return { image: imageDetail(call.publicUrl, await this.image(call)) };
  }

  @Operation({
    service: compute,
    method: 'DELETE',
    path: `${path}/:id`,
    policy,
    versions: UNTIL_PROXIES,
    status: 204,
  })
  async remove(call: Call) {
    await this.ask(call, 'DELETE', pathOf(call));
  }

  @Operation({ service: compute, method: 'GET', path: item, policy, versions: UNTIL_METADATA })
  async metadata(call: Call) {
    return { metadata: metadataOf(await this.image(call)) };
  }

  @Operation({ service: compute, method: 'POST', path: item, policy, versions: UNTIL_METADATA, body: whole })
  async add(call: Call) {
    const added = (call.body as z.infer<typeof whole>).metadata;
    return { metadata: await this.change(call, (had) => ({ ...had, ...added })) };
  }

  @Operation({ service: compute, method: 'PUT', path: item, policy, versions: UNTIL_METADATA, body: whole })
  async replace(call: Call) {
    const wanted = (call.body as z.infer<typeof whole>).metadata;
    await this.change(call, () => wanted);
    return { metadata: wanted };
  }

  @Operation({ service: compute, method: 'GET', path: `${item}/:key`, policy, versions: UNTIL_METADATA })
  async showItem(call: Call) {
    const key = call.params.key!;
    const had = metadataOf(await this.image(call));
    if (!Object.hasOwn(had, key)) throw notFound('The resource could not be found.');
    return { meta: { [key]: had[key] } };
  }

  @Operation({ service: compute, method: 'PUT', path: `${item}/:key`, policy, versions: UNTIL_METADATA, body: one })
  async put(call: Call) {
    const { meta } = call.body as z.infer<typeof one>;
    if (!Object.hasOwn(meta, call.params.key!)) throw invalid('Request body and URI mismatch');
    await this.change(call, (had) => ({ ...had, ...meta }));
    return { meta };
  }

  @Operation({
    service: compute,
    method: 'DELETE',
    path: `${item}/:key`,
    policy,
    versions: UNTIL_METADATA,
    status: 204,
  })
  async removeItem(call: Call) {
    const key = call.params.key!;
    await this.change(call, (had) => {
      if (!Object.hasOwn(had, key)) throw notFound('Invalid metadata key');
      return Object.fromEntries(Object.entries(had).filter(([name]) => name !== key));
    });
  }

  private async page(call: Call, view: (publicUrl: string, image: GlanceImage) => object) {
    const size = pageSize(call.query as Query);
    if (size === 0) return { images: [] };
    const asked = new URLSearchParams({ ...filtersOf(call.query as Query), limit: String(size) });
    const { images } = (await this.ask(call, 'GET', `/v2/images?${asked}`)) as Listed;
    return {
      images: images.map((image) => view(call.publicUrl, image)),
      ...nextLink(call, 'images', images, images.at(-1)?.id),
    };
  }

  private async image(call: Call): Promise<GlanceImage> {
    return (await this.ask(call, 'GET', pathOf(call))) as GlanceImage;
  }

  private async change(call: Call, next: (had: Metadata) => Metadata): Promise<Metadata> {
    const had = metadataOf(await this.image(call));
    const wanted = next(had);
    await this.checkQuota(call, wanted);
    const pointer = (key: string) => `/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    const changes = [
      ...Object.keys(had)
        .filter((key) => !Object.hasOwn(wanted, key))
        .map((key) => ({ op: 'remove', path: pointer(key) })),
      ...Object.entries(wanted)
        .filter(([key, value]) => had[key] !== value)
        .map(([key, value]) => ({ op: Object.hasOwn(had, key) ? 'replace' : 'add', path: pointer(key), value })),
    ];
    if (changes.length === 0) return had;
    return metadataOf((await this.ask(call, 'PATCH', pathOf(call), changes)) as GlanceImage);
  }

  private async checkQuota(call: Call, wanted: Metadata): Promise<void> {
    const { projectId } = call.token;
    if (projectId === null) return;
    const quota = await this.core.commands.load(quotaAggregate, projectId);
    const most = limitOf(quota, { ...defaultQuota, ...this.settings.quota }, 'metadata_items');
    if (most >= 0 && Object.keys(wanted).length > most)
      throw new DomainError('overQuota', 'Image metadata limit exceeded');
  }

  private async ask(call: Call, method: 'GET' | 'PATCH' | 'DELETE', to: string, patch?: readonly object[]) {
    const { status, body } = await this.images.ask(call, method, to, patch);
    if (status < 300) return body;
    const said = (body as { message?: unknown } | undefined)?.message;
    const message = typeof said === 'string' ? said.replace(/<br \/>|\n/g, '') : 'The request was refused by Image.';
    if (status === 404) throw noSuchImage();
    if (status === 403)
      throw forbidden(method === 'DELETE' ? 'You are not allowed to delete the image.' : 'Not authorized for image.');
    if (status === 409) throw conflict(message);
    if (status === 413) throw new DomainError('overQuota', message);
    throw invalid(message);
  }
}

const noSuchImage = () => notFound('Image not found.');

const pathOf = (call: Call) => {
  const id = ImageId.safeParse(call.params.id);
  if (!id.success) throw noSuchImage();
  return `/v2/images/${id.data}`;
};

const FILTERS: Readonly<Record<string, (value: string) => readonly [string, string]>> = {
  marker: (v) => ['marker', v],
  name: (v) => ['name', v],
  status: (v) => ['status', v.toLowerCase()],
  type: (v) => ['image_type', v],
  minRam: (v) => ['min_ram', v],
  minDisk: (v) => ['min_disk', v],
  'changes-since': (v) => ['updated_at', `gte:${v}`],
  // By its id or its URL.
  server: (v) => ['instance_uuid', v.split('/').at(-1)!],
};

/** The query of Image for one of Compute; what neither knows filters nothing. */
const filtersOf = (query: Query): Record<string, string> =>
  Object.fromEntries(
    Object.keys(query).flatMap((key) => {
      const value = last(query, key)!;
      if (key.startsWith('property-')) return [[key.slice('property-'.length), value]];
      return Object.hasOwn(FILTERS, key) ? [FILTERS[key]!(value)] : [];
    }),
  );
