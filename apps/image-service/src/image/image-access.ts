import { ImageId, type TokenContext } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import type { Call } from '@omnivisor/openstack';
import { type ImageRow, imagesTable } from './image.projection.js';
import { imageNotFound } from './image-lifecycle.js';

/** True for what a project may know of at all; policies come on top of it. */
export const isVisible = (row: ImageRow, projectId: string | null, isAdmin: boolean): boolean =>
  isAdmin ||
  row.visibility === 'public' ||
  row.visibility === 'community' ||
  (projectId !== null &&
    (row.owner === projectId || (row.visibility === 'shared' && row.members.some((m) => m.memberId === projectId))));

/** An image as policy rules see it. */
export const targetOf = (row: ImageRow, token: TokenContext): Record<string, unknown> => ({
  project_id: row.owner,
  owner: row.owner,
  visibility: row.visibility,
  ...(token.projectId !== null && row.members.some((m) => m.memberId === token.projectId)
    ? { member_id: token.projectId }
    : {}),
});

/**
 * The image a request names. What the caller may not see does not exist.
 * @param rule checked for the image after that
 * @throws DomainError `notFound`; `forbidden`
 */
export const imageOf = async (call: Call, rows: RowReader, rule?: string): Promise<ImageRow> => {
  const asked = call.params.id ?? '';
  const id = ImageId.safeParse(asked.toLowerCase());
  const row = id.success ? await rows.get(imagesTable, id.data) : undefined;
  if (!row || !isVisible(row, call.token.projectId, call.isAdmin)) throw imageNotFound(asked);
  const target = targetOf(row, call.token);
  if (!call.can('get_image', target)) throw imageNotFound(asked);
  if (rule !== undefined) call.enforce(rule, target);
  return row;
};
