import type { Readable } from 'node:stream';
import { Controller } from '@nestjs/common';
import {
  DomainError,
  forbidden,
  type ImageAttributes,
  ImageId,
  type ImageVisibility,
  invalid,
} from '@omnivisor/contracts';
import { type Call, collect, nextPath, Operation, pageOf, parseJson, Reply } from '@omnivisor/openstack';
import { z } from 'zod';
import { ImageContext } from '../core.js';
import { imagesTable } from './image.projection.js';
import { imageView } from './image.view.js';
import { imageOf, targetOf } from './image-access.js';
import { IMPORT_METHODS } from './image-imports.js';
import { imageAggregate, imageNotFound } from './image-lifecycle.js';
import { listImages } from './image-list.js';
import { attributeOf } from './image-patch.js';
import { assertImage } from './image-schema.js';
import { assertPropertyName, assertSettable, changesOf, PATCH_TYPES } from './json-patch.js';

const PATCH_LIMIT = 1024 * 1024;
const DEFAULT_PAGE = 25;
const MAX_PAGE = 1_000;
/** Of these a caller may not even name a value when it creates an image. */
const DISALLOWED = ['direct_url', 'self', 'file', 'schema', 'stores'] as const;
const READ_ONLY = [
  ...['checksum', 'created_at', 'size', 'virtual_size', 'status', 'updated_at', 'os_hash_algo', 'os_hash_value'],
] as const;

@Controller()
export class ImagesController {
  constructor(private readonly images: ImageContext) {}

  @Operation({ service: 'image', method: 'GET', path: '/v2/images', policy: 'get_images' })
  async list(call: Call) {
    const limit = call.query.limit === undefined ? DEFAULT_PAGE : pageOf(call, MAX_PAGE).limit;
    const rows = await listImages(await this.images.core.fresh(), {
      query: call.query,
      projectId: call.token.projectId,
      isAdmin: call.isAdmin,
      limit,
      marker: call.query.marker?.at(-1),
    });
    const more = rows.length > 0 && rows.length === limit;
    return {
      images: rows.filter((row) => call.can('get_image', targetOf(row, call.token))).map(imageView),
      first: firstPath(call),
      ...(more ? { next: nextPath(call, rows.at(-1)!.id) } : {}),
      schema: '/v2/schemas/images',
    };
  }

  @Operation({
    service: 'image',
    method: 'POST',
    path: '/v2/images',
    policy: 'authenticated',
    body: z.unknown(),
    status: 201,
  })
  async create(call: Call) {
    const { imageId, attributes, properties } = this.wanted(call);
    const { core } = this.images;
    const target = { project_id: attributes.owner, owner: attributes.owner, visibility: attributes.visibility };
    if (!call.can('add_image', target)) {
      if (attributes.owner !== call.token.projectId)
        throw forbidden(`You are not permitted to create images owned by '${attributes.owner}'`);
      call.enforce('add_image', target);
    }
    enforceVisibility(call, attributes.visibility, target);
    const { position } = await core.commands.execute(
      imageAggregate,
      imageId,
      { kind: 'create', imageId, attributes, properties },
      call.context(),
    );
    const row = await (await core.at(position)).get(imagesTable, imageId);
    if (!row) throw imageNotFound(imageId);
    return new Reply(imageView(row), {
      headers: {
        location: `${call.publicUrl}/v2/images/${imageId}`,
        'openstack-image-import-methods': IMPORT_METHODS.join(','),
      },
    });
  }

  @Operation({ service: 'image', method: 'GET', path: '/v2/images/:id', policy: 'authenticated' })
  async show(call: Call) {
    return imageView(await imageOf(call, await this.images.core.fresh()));
  }

  @Operation({ service: 'image', method: 'PATCH', path: '/v2/images/:id', policy: 'authenticated', stream: true })
  async update(call: Call<Readable>) {
    const type = (call.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase();
    const draft = Object.hasOwn(PATCH_TYPES, type) ? PATCH_TYPES[type] : undefined;
    if (!draft)
      throw new DomainError(
        'unsupportedMedia',
        `Image PATCH expects Content-Type one of: ${Object.keys(PATCH_TYPES).sort().join(', ')}`,
      );
    const body = parseJson(await collect(call.body, PATCH_LIMIT, call.headers['content-length']));
    if (!body) throw invalid('Malformed JSON in request body.');
    const changes = changesOf(body.value, draft);
    const { core } = this.images;
    const asked = call as unknown as Call;
    const image = await imageOf(asked, await core.fresh(), 'modify_image');
    for (const change of changes)
      if (change.op !== 'remove' && change.name === 'visibility')
        enforceVisibility(asked, change.value as ImageVisibility, targetOf(image, call.token));
    const { position } = await core.commands.execute(
      imageAggregate,
      image.id,
      { kind: 'patch', imageId: image.id, changes, isAdmin: call.isAdmin },
      call.context(),
    );
    const row = await (position > 0 ? await core.at(position) : await core.fresh()).get(imagesTable, image.id);
    if (!row) throw imageNotFound(image.id);
    return imageView(row);
  }

  @Operation({ service: 'image', method: 'DELETE', path: '/v2/images/:id', policy: 'authenticated', status: 204 })
  async remove(call: Call) {
    const { core, store } = this.images;
    const image = await imageOf(call, await core.fresh(), 'delete_image');
    const { state } = await core.commands.execute(
      imageAggregate,
      image.id,
      { kind: 'delete', imageId: image.id },
      call.context(),
    );
    // An upload under way finds out by itself; what is left by a crash here the sweeper removes.
    if (state?.uploadId && (image.status === 'active' || image.status === 'deactivated'))
      await store.remove(state.uploadId);
  }

  /** What a create request asks for. @throws DomainError as Glance refuses */
  private wanted(call: Call): { imageId: ImageId; attributes: ImageAttributes; properties: Record<string, string> } {
    const { body } = call;
    if (body === null || typeof body !== 'object' || Array.isArray(body))
      throw invalid("Provided object does not match schema 'image': the body is not of type 'object'");
    const given = body as Record<string, unknown>;
    for (const name of DISALLOWED) if (Object.hasOwn(given, name)) throw forbidden(`Attribute '${name}' is read-only.`);
    assertImage(given);
    for (const name of READ_ONLY) if (Object.hasOwn(given, name)) throw forbidden(`Attribute '${name}' is read-only.`);
    if (Object.hasOwn(given, 'locations'))
      throw forbidden("It's not allowed to add locations if locations are invisible.");
    const attributes: Record<string, unknown> = {
      name: null,
      owner: call.token.projectId,
      diskFormat: null,
      containerFormat: null,
      visibility: 'shared',
      protected: false,
      hidden: false,
      minDisk: 0,
      minRam: 0,
      tags: [],
    };
    const properties: Record<string, string> = {};
    for (const [name, value] of Object.entries(given)) {
      const attribute = attributeOf(name);
      if (attribute) attributes[attribute] = value;
      else if (name !== 'id') {
        assertPropertyName(name);
        assertSettable(name);
        properties[name] = value as string;
      }
    }
    const id = ImageId.safeParse(String(given.id ?? this.images.core.ids.uuid()).toLowerCase());
    if (!id.success) throw invalid("Provided object does not match schema 'image': the id is not a UUID of RFC 9562");
    return { imageId: id.data, attributes: attributes as ImageAttributes, properties };
  }
}

const enforceVisibility = (call: Call, visibility: ImageVisibility, target: Record<string, unknown>): void => {
  if (visibility === 'public') call.enforce('publicize_image', target);
  if (visibility === 'community') call.enforce('communitize_image', target);
};

const firstPath = (call: Call): string => {
  const parameters = new URLSearchParams(call.path.split('?', 2)[1] ?? '');
  parameters.delete('marker');
  const query = parameters.toString();
  return query === '' ? '/v2/images' : `/v2/images?${query}`;
};
