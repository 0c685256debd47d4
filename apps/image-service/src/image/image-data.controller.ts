import type { Readable } from 'node:stream';
import { Controller } from '@nestjs/common';
import { DomainError, forbidden, invalid, unavailable } from '@omnivisor/contracts';
import { type Call, Operation, Reply } from '@omnivisor/openstack';
import { ImageContext } from '../core.js';
import type { ByteRange } from '../store/index.js';
import { etagOf, rangeOf, sizeIn } from './byte-range.js';
import { imageOf } from './image-access.js';
import { ImageGone } from './image-lifecycle.js';
import { ImageUploads } from './image-uploads.js';
import { wsgiFault } from './wsgi-fault.js';

@Controller()
export class ImageDataController {
  constructor(
    private readonly images: ImageContext,
    private readonly uploads: ImageUploads,
  ) {}

  @Operation({
    service: 'image',
    method: 'PUT',
    path: '/v2/images/:id/file',
    policy: 'authenticated',
    stream: true,
    status: 204,
  })
  async upload(call: Call<Readable>) {
    const type = (call.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase();
    if (type !== 'application/octet-stream')
      throw new DomainError('unsupportedMedia', `Invalid content type ${type.slice(0, 200)}`);
    const declared = sizeIn(call.headers);
    const image = await imageOf(call as Call, await this.images.core.fresh(), 'upload_image');
    try {
      await this.uploads.receive(image, call.body, declared, (step) => call.context(step));
      return undefined;
    } catch (error) {
      if (error instanceof ImageGone) return wsgiFault(call.headers.accept, 410, 'Gone', error.message);
      throw error;
    }
  }

  /** Bytes have no past: those of a deleted image are gone. */
  @Operation({ service: 'image', method: 'GET', path: '/v2/images/:id/file', policy: 'authenticated', live: true })
  async download(call: Call) {
    if (call.query.prefer?.some((p) => p.trim() !== ''))
      throw invalid('Store selection for download is not available when multiple backends are not enabled.');
    const image = await imageOf(call, await this.images.core.fresh());
    if (image.status === 'deactivated' && !call.isAdmin)
      throw forbidden('The requested image has been deactivated. Image data download is forbidden.');
    await imageOf(call, await this.images.core.fresh(), 'download_image');
    if (image.uploadId === null || image.size === null) return new Reply(undefined, { status: 204 });
    const etag = etagOf(image);
    const range = rangeOf(call.headers, image.size, etag);
    if (range === null)
      return wsgiFault(
        call.headers.accept,
        416,
        'Requested Range Not Satisfiable',
        'The range asked for cannot be served.',
        {
          'content-range': `bytes */${image.size}`,
        },
      );
    const bytes = await this.open(image.uploadId, range);
    const length = range ? range.end - range.start + 1 : image.size;
    return new Reply(bytes, {
      status: range ? 206 : 200,
      headers: {
        'content-type': 'application/octet-stream',
        'content-length': String(length),
        etag,
        ...(image.checksum === null ? {} : { 'content-md5': image.checksum }),
        ...(range ? { 'content-range': `bytes ${range.start}-${range.end}/${image.size}` } : {}),
      },
    });
  }

  private async open(key: string, range: ByteRange | undefined): Promise<Readable> {
    try {
      return await this.images.store.read(key, range);
    } catch (error) {
      throw unavailable('The image data cannot be read now.', error);
    }
  }
}
