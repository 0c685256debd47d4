import { readFileSync } from 'node:fs';
import type { Bus } from '@omnivisor/platform/ports';
import type { GatewayConfig } from '../../config.js';
import type { CheckpointPlace } from './checkpoint-outlet.js';
import { bucketPlace, busPlace, folderPlace } from './checkpoint-places.js';

/** Places that the configuration names, and the bus. */
export const checkpointPlaces = (config: GatewayConfig, bus: Bus): CheckpointPlace[] => {
  const places = [busPlace(bus)];
  if (config.OMNIVISOR_CHECKPOINT_DIR) places.push(folderPlace(config.OMNIVISOR_CHECKPOINT_DIR));
  const url = config.OMNIVISOR_CHECKPOINT_BUCKET_URL;
  if (url) {
    const file = config.OMNIVISOR_CHECKPOINT_BUCKET_KEY_FILE;
    const [accessKeyId, secretAccessKey] = file
      ? readFileSync(file, 'utf8')
          .split('\n')
          .map((l) => l.trim())
      : [];
    if (!accessKeyId || !secretAccessKey)
      throw new Error('OMNIVISOR_CHECKPOINT_BUCKET_KEY_FILE: a line with the access key id, and one with the secret');
    places.push(
      bucketPlace({
        url,
        region: config.OMNIVISOR_CHECKPOINT_BUCKET_REGION,
        accessKeyId,
        secretAccessKey,
        retentionDays: config.OMNIVISOR_CHECKPOINT_RETENTION_DAYS,
        now: Date.now,
      }),
    );
  }
  return places;
};
