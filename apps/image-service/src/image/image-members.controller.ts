import { Controller } from '@nestjs/common';
import { DomainError, forbidden, ImageMemberStatus, invalid, notFound } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { ImageContext } from '../core.js';
import { type ImageRow, imagesTable } from './image.projection.js';
import { memberView } from './image.view.js';
import { imageOf, targetOf } from './image-access.js';
import { type ImageCommand, imageAggregate } from './image-lifecycle.js';

const field = (body: unknown, name: string, missing: string, form: string): unknown => {
  if (body === null || typeof body !== 'object' || Array.isArray(body)) throw invalid(form);
  if (!Object.hasOwn(body, name)) throw invalid(missing);
  return (body as Record<string, unknown>)[name];
};

/** Projects an image is shared with. */
@Controller()
export class ImageMembersController {
  constructor(private readonly images: ImageContext) {}

  @Operation({ service: 'image', method: 'GET', path: '/v2/images/:id/members', policy: 'authenticated' })
  async list(call: Call) {
    const image = await this.shared(call, `Not allowed to list members for image ${call.params.id}`);
    const target = targetOf(image, call.token);
    if (!call.can('get_members', target)) throw call.refusal('get_members');
    const seen =
      call.isAdmin || image.owner === call.token.projectId
        ? image.members
        : image.members.filter((m) => m.memberId === call.token.projectId);
    return { members: seen.map((m) => memberView(image.id, m)), schema: '/v2/schemas/members' };
  }

  @Operation({
    service: 'image',
    method: 'POST',
    path: '/v2/images/:id/members',
    policy: 'authenticated',
    body: z.unknown(),
  })
  async create(call: Call) {
    const form = 'Expected a member in the form: {"member": "image_id"}';
    const memberId = field(call.body, 'member', 'Member to be added not specified', form);
    if (memberId === '' || memberId === null) throw invalid("Member can't be empty");
    if (typeof memberId !== 'string' || memberId.length > 255) throw invalid(form);
    const refused = `Not allowed to create members for image ${call.params.id}.`;
    const image = await this.shared(call, refused);
    if (!call.can('add_member', targetOf(image, call.token))) throw forbidden(refused);
    return this.changed(call, image, { kind: 'addMember', imageId: image.id, memberId }, memberId);
  }

  @Operation({ service: 'image', method: 'GET', path: '/v2/images/:id/members/:member', policy: 'authenticated' })
  async show(call: Call) {
    const image = await imageOf(call, await this.images.core.fresh());
    const member = this.memberIn(call, image);
    if (image.visibility !== 'shared' || !call.can('get_member', targetOf(image, call.token)))
      throw this.noMember(call, image);
    return memberView(image.id, member);
  }

  @Operation({
    service: 'image',
    method: 'PUT',
    path: '/v2/images/:id/members/:member',
    policy: 'authenticated',
    body: z.unknown(),
  })
  async update(call: Call) {
    const form = 'Expected a status in the form: {"status": "status"}';
    const given = field(call.body, 'status', 'Status not specified', form);
    const refused = `Not allowed to update members for image ${call.params.id}.`;
    const image = await this.shared(call, refused);
    const { memberId } = this.memberIn(call, image);
    // Whether an offer is taken is for the member to say, not for the owner.
    if (!call.can('modify_member', { ...targetOf(image, call.token), member_id: memberId })) throw forbidden(refused);
    const status = ImageMemberStatus.safeParse(given);
    if (!status.success) throw invalid('Incorrect request: Status must be "pending", "accepted" or "rejected".');
    const command = { kind: 'setMemberStatus', imageId: image.id, memberId, status: status.data } as const;
    return this.changed(call, image, command, memberId);
  }

  @Operation({
    service: 'image',
    method: 'DELETE',
    path: '/v2/images/:id/members/:member',
    policy: 'authenticated',
    status: 204,
  })
  async remove(call: Call) {
    const refused = `Not allowed to delete members for image ${call.params.id}.`;
    const image = await this.shared(call, refused);
    const { memberId } = this.memberIn(call, image);
    if (!call.can('delete_member', targetOf(image, call.token))) throw forbidden(refused);
    const command = { kind: 'removeMember', imageId: image.id, memberId } as const;
    await this.images.core.commands.execute(imageAggregate, image.id, command, call.context());
  }

  private async shared(call: Call, refused: string): Promise<ImageRow> {
    const image = await imageOf(call, await this.images.core.fresh());
    if (image.visibility !== 'shared') throw forbidden(refused);
    return image;
  }

  /** A member the caller may know of: owners and administrators know all, others themselves. */
  private memberIn(call: Call, image: ImageRow) {
    const asked = call.params.member ?? '';
    const known = call.isAdmin || image.owner === call.token.projectId || asked === call.token.projectId;
    const member = known ? image.members.find((m) => m.memberId === asked) : undefined;
    if (!member) throw this.noMember(call, image);
    return member;
  }

  private noMember(call: Call, image: ImageRow): DomainError {
    return notFound(`${call.params.member} not found in the member list of the image ${image.id}.`);
  }

  private async changed(call: Call, image: ImageRow, command: ImageCommand, memberId: string) {
    const { core } = this.images;
    const { position } = await core.commands.execute(imageAggregate, image.id, command, call.context());
    const row = await (position > 0 ? await core.at(position) : await core.fresh()).get(imagesTable, image.id);
    const member = row?.members.find((m) => m.memberId === memberId);
    if (!member) throw this.noMember(call, image);
    return memberView(image.id, member);
  }
}
