import { isoSeconds, linksOf } from '../common/paging.js';

/** An image as the Image API shows it; custom properties stand beside the others. */
export interface GlanceImage {
  readonly id: string;
  readonly name: string | null;
  readonly status: string;
  readonly size: number | null;
  readonly min_ram: number;
  readonly min_disk: number;
  readonly created_at: string;
  readonly updated_at: string;
}

const BASE = new Set(
  `id name status size min_ram min_disk created_at updated_at visibility protected tags checksum owner virtual_size
   disk_format container_format os_hash_algo os_hash_value os_hidden file self schema locations direct_url stores`
    .trim()
    .split(/\s+/),
);

const STATUS: Readonly<Record<string, readonly [status: string, progress: number]>> = {
  active: ['ACTIVE', 100],
  queued: ['SAVING', 25],
  saving: ['SAVING', 50],
  deleted: ['DELETED', 0],
  pending_delete: ['DELETED', 0],
  killed: ['ERROR', 0],
};

/** The custom properties. */
export const metadataOf = (image: GlanceImage): Record<string, string> =>
  Object.fromEntries(Object.entries(image).filter(([key]) => !BASE.has(key)));

const links = (publicUrl: string, id: string) => [
  ...linksOf(publicUrl, 'images', id),
  {
    rel: 'alternate',
    type: 'application/vnd.openstack.image',
    href: `${publicUrl.replace(/\/compute$/, '/image')}/images/${id}`,
  },
];

export const imageBrief = (publicUrl: string, image: GlanceImage) => ({
  id: image.id,
  name: image.name,
  links: links(publicUrl, image.id),
});

export const imageDetail = (publicUrl: string, image: GlanceImage) => {
  const metadata = metadataOf(image);
  const { instance_uuid: server, auto_disk_config: auto } = metadata;
  const [status, progress] = STATUS[image.status] ?? ['UNKNOWN', 0];
  return {
    ...imageBrief(publicUrl, image),
    minRam: image.min_ram,
    minDisk: image.min_disk,
    metadata,
    created: isoSeconds(image.created_at),
    updated: isoSeconds(image.updated_at),
    status,
    progress,
    'OS-EXT-IMG-SIZE:size': image.size ?? 0,
    ...(server === undefined ? {} : { server: { id: server, links: linksOf(publicUrl, 'servers', server) } }),
    ...(auto === undefined ? {} : { 'OS-DCF:diskConfig': /^(?:1|t|true|on|y|yes)$/i.test(auto) ? 'AUTO' : 'MANUAL' }),
  };
};
