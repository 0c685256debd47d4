import type { QuotaAmounts } from '@omnivisor/contracts';

/** Limits of a project that has none of its own; -1 means unlimited. The names are Nova's. */
export const defaultQuota: QuotaAmounts = {
  instances: 10,
  cores: 20,
  /** MiB. */
  ram: 51_200,
  metadata_items: 128,
  key_pairs: 100,
  server_groups: 10,
  server_group_members: 10,
  injected_files: 5,
  /** Length of a file's contents as they are sent, in base64. */
  injected_file_content_bytes: 10_240,
  injected_file_path_bytes: 255,
};

/** What a server takes. */
export const serverAmounts = (flavor: { readonly vcpus: number; readonly memory: number }): QuotaAmounts => ({
  instances: 1,
  cores: flavor.vcpus,
  ram: flavor.memory,
});
