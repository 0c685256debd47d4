import { Controller } from '@nestjs/common';
import { notFound } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { IMPORT_METHODS } from './image-imports.js';
import { imageSchema, imagesSchema, memberSchema, membersSchema } from './image-schema.js';

const schema = (name: string) =>
  ({ service: 'image', method: 'GET', path: `/v2/schemas/${name}`, policy: 'authenticated' }) as const;

/** What the service says about itself. */
@Controller()
export class ImageInfoController {
  @Operation(schema('image'))
  image(_call: Call) {
    return imageSchema;
  }

  @Operation(schema('images'))
  images(_call: Call) {
    return imagesSchema;
  }

  @Operation(schema('member'))
  member(_call: Call) {
    return memberSchema;
  }

  @Operation(schema('members'))
  members(_call: Call) {
    return membersSchema;
  }

  @Operation({ service: 'image', method: 'GET', path: '/v2/info/import', policy: 'authenticated' })
  imports(_call: Call) {
    return { 'import-methods': { description: 'Import methods available.', type: 'array', value: IMPORT_METHODS } };
  }

  @Operation({ service: 'image', method: 'GET', path: '/v2/info/stores', policy: 'authenticated' })
  stores(_call: Call) {
    throw notFound('Multi backend is not supported at this site.');
  }
}
