import type { ImageMemberRow, ImageRow } from './image.projection.js';

export const imageView = (row: ImageRow): Record<string, unknown> => ({
  ...row.properties,
  name: row.name,
  disk_format: row.diskFormat,
  container_format: row.containerFormat,
  visibility: row.visibility,
  size: row.size,
  virtual_size: row.virtualSize,
  status: row.status,
  checksum: row.checksum,
  protected: row.protected,
  min_ram: row.minRam,
  min_disk: row.minDisk,
  owner: row.owner,
  os_hidden: row.hidden,
  os_hash_algo: row.sha512 === null ? null : 'sha512',
  os_hash_value: row.sha512,
  id: row.id,
  created_at: row.createdAt,
  updated_at: row.updatedAt,
  tags: row.tags,
  self: `/v2/images/${row.id}`,
  file: `/v2/images/${row.id}/file`,
  schema: '/v2/schemas/image',
});

export const memberView = (imageId: string, member: ImageMemberRow): Record<string, unknown> => ({
  member_id: member.memberId,
  image_id: imageId,
  status: member.status,
  created_at: member.createdAt,
  updated_at: member.updatedAt,
  schema: '/v2/schemas/member',
});
