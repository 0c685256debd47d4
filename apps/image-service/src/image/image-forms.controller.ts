import { Controller } from '@nestjs/common';
import {
  DomainError,
  forbidden,
  HypervisorKind,
  ImageFormat,
  invalid,
  type Milliseconds,
  notFound,
} from '@omnivisor/contracts';
import { type Call, Operation, Reply } from '@omnivisor/openstack';
import { z } from 'zod';
import { ImageContext } from '../core.js';
import { ImageForms } from '../forms/image-forms.js';
import { ImageInjections } from '../injection/image-injections.js';
import { rangeOf } from './byte-range.js';
import { RETRY_AFTER } from './byte-route.js';
import { guestsTable } from './image.projection.js';
import { imageOf } from './image-access.js';
import { wsgiFault } from './wsgi-fault.js';

/** Ours: an image in the formats it did not come in, and the guest inside (docs/operating/images.md). */
@Controller()
export class ImageFormsController {
  constructor(
    private readonly images: ImageContext,
    private readonly forms: ImageForms,
    private readonly injections: ImageInjections,
  ) {}

  /** Formats in which the image can be had, with what is known of those that are there. */
  @Operation({ service: 'image', method: 'GET', path: '/v2/images/:id/os-omnivisor-export', policy: 'authenticated' })
  async formats(call: Call) {
    const image = await imageOf(call, await this.images.core.fresh(), 'os_omnivisor_export_image');
    const known = new Map((await this.forms.known(image)).map((form) => [form.format, form]));
    return {
      formats: ImageFormat.options.flatMap((format) => {
        const reason = known.has(format) ? this.forms.problem(image, format) : this.forms.exportProblem(image, format);
        const { state, size, sha256 } = known.get(format) ?? { state: 'possible', size: null, sha256: null };
        return reason === null ? [{ format, state, size, sha256 }] : [];
      }),
    };
  }

  /** The image in one format. While it is being made: 503 with Retry-After. */
  @Operation({
    ...{ service: 'image', method: 'GET', path: '/v2/images/:id/os-omnivisor-export/:format' },
    policy: 'authenticated',
  })
  async download(call: Call) {
    const { core, settings } = this.images;
    const format = ImageFormat.safeParse(call.params.format);
    const image = await imageOf(call, await core.fresh());
    if (!format.success) throw notFound(`There is no format ${call.params.format?.slice(0, 50)}.`);
    if (image.status === 'deactivated' && !call.isAdmin)
      throw forbidden('The requested image has been deactivated. Image data download is forbidden.');
    for (const rule of ['download_image', 'os_omnivisor_export_image']) await imageOf(call, await core.fresh(), rule);
    if (image.status !== 'active' || image.size === null) throw invalid('The image has no data that may be used.');
    const asker = { of: call.token.projectId ?? call.token.userId };
    const form = await this.forms.ready(image, format.data, settings.patience as Milliseconds, asker);
    if (!form)
      throw new DomainError('unavailable', 'The image is being converted. Please try again.', {
        details: { retryAfter: RETRY_AFTER },
      });
    const range = rangeOf(call.headers, form.size, form.etag);
    if (range === null)
      return wsgiFault(call.headers.accept, 416, 'Requested Range Not Satisfiable', 'The range cannot be served.', {
        'content-range': `bytes */${form.size}`,
      });
    return new Reply(await this.forms.read(form, range), {
      status: range ? 206 : 200,
      headers: {
        'content-type': 'application/octet-stream',
        'content-length': String(range ? range.end - range.start + 1 : form.size),
        'accept-ranges': 'bytes',
        'content-disposition': `attachment; filename="${image.id}.${extensionOf(form.format)}"`,
        etag: form.etag,
        ...(range ? { 'content-range': `bytes ${range.start}-${range.end}/${form.size}` } : {}),
      },
    });
  }

  /** A new image whose guest starts on these hypervisors too; its task tells how it goes. */
  @Operation({
    ...{ service: 'image', method: 'POST', path: '/v2/images/:id/actions/os-omnivisor-inject' },
    policy: 'authenticated',
    body: z.object({ hypervisors: z.array(HypervisorKind).min(1).max(5) }),
    status: 202,
  })
  async inject(call: Call<{ hypervisors: HypervisorKind[] }>) {
    const asked = call as Call;
    const rows = await this.images.core.fresh();
    await imageOf(asked, rows, 'download_image');
    const image = await imageOf(asked, rows, 'os_omnivisor_inject_image');
    const { projectId } = call.token;
    if (projectId === null) throw forbidden('Images are made in a project.');
    const owned = { project_id: projectId, owner: projectId, visibility: 'private' };
    call.enforce('add_image', owned);
    const hypervisors = [...new Set(call.body.hypervisors)];
    const id = await this.injections.begin(image, hypervisors, projectId, (step) => call.context(step));
    return { image_id: id };
  }

  /** On which hypervisors the guest starts, and what was found of it. */
  @Operation({
    service: 'image',
    method: 'GET',
    path: '/v2/images/:id/os-omnivisor-readiness',
    policy: 'authenticated',
  })
  async readiness(call: Call) {
    const rows = await this.images.core.fresh();
    const image = await imageOf(call, rows, 'get_image');
    const found = await rows.get(guestsTable, image.id);
    if (!found) return { inspected: false, readiness: {}, guest: null };
    const { guest, readiness } = found;
    return {
      inspected: true,
      readiness: Object.fromEntries(
        Object.entries(readiness).map(([hypervisor, { verdict, reason, needs = [] }]) => [
          hypervisor,
          { verdict: WORDS[verdict], reason, needs },
        ]),
      ),
      guest: {
        partitions: guest.partitions,
        firmware: guest.firmware,
        file_systems: guest.fileSystems,
        distribution: guest.distribution,
        kernel: guest.kernel,
        windows: guest.windows ?? null,
        boot_drivers: guest.bootDrivers,
        other_drivers: guest.otherDrivers,
        agents: guest.agents,
        unknown: guest.unknown,
      },
    };
  }
}

const WORDS = { boots: 'boots', bootsAfterInjection: 'boots after driver injection', cannot: 'cannot' } as const;

const extensionOf = (format: ImageFormat): string =>
  (({ 'vhd-fixed': 'vhd', 'vmdk-sparse': 'vmdk' }) as Partial<Record<ImageFormat, string>>)[format] ?? format;
