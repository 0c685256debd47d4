import { Controller } from '@nestjs/common';
import { DomainError } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { ImageContext } from '../core.js';
import { imageOf } from './image-access.js';
import { imageAggregate } from './image-lifecycle.js';
import { assertImage } from './image-schema.js';

/** Tags and actions of an image. */
@Controller()
export class ImagePartsController {
  constructor(private readonly images: ImageContext) {}

  @Operation({
    service: 'image',
    method: 'PUT',
    path: '/v2/images/:id/tags/:tag',
    policy: 'authenticated',
    status: 204,
  })
  addTag(call: Call) {
    assertImage({ tags: [call.params.tag] });
    return this.tag(call, 'addTag');
  }

  @Operation({
    service: 'image',
    method: 'DELETE',
    path: '/v2/images/:id/tags/:tag',
    policy: 'authenticated',
    status: 204,
  })
  removeTag(call: Call) {
    return this.tag(call, 'removeTag');
  }

  @Operation({
    service: 'image',
    method: 'POST',
    path: '/v2/images/:id/actions/deactivate',
    policy: 'authenticated',
    status: 204,
  })
  deactivate(call: Call) {
    return this.act(call, 'deactivate');
  }

  @Operation({
    service: 'image',
    method: 'POST',
    path: '/v2/images/:id/actions/reactivate',
    policy: 'authenticated',
    status: 204,
  })
  reactivate(call: Call) {
    return this.act(call, 'reactivate');
  }

  private async act(call: Call, kind: 'deactivate' | 'reactivate'): Promise<void> {
    const { core } = this.images;
    const { id } = await imageOf(call, await core.fresh(), kind);
    await core.commands.execute(imageAggregate, id, { kind, imageId: id }, call.context());
  }

  private async tag(call: Call, kind: 'addTag' | 'removeTag'): Promise<void> {
    const { core } = this.images;
    const { id } = await imageOf(call, await core.fresh(), 'modify_image');
    try {
      const command = { kind, imageId: id, tag: call.params.tag ?? '' } as const;
      await core.commands.execute(imageAggregate, id, command, call.context());
    } catch (error) {
      if (error instanceof DomainError && error.kind === 'tooLarge')
        throw new DomainError('tooLarge', `Image tag limit exceeded for image ${id}: ${error.message}:`);
      throw error;
    }
  }
}
