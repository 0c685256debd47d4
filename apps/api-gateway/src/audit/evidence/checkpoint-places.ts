import { createHash } from 'node:crypto';
import { appendFile, mkdir, open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { ms, seconds } from '@omnivisor/contracts';
import type { Checkpoint } from '@omnivisor/eventsourcing/seal';
import { AwsClient } from 'aws4fetch';
import type { CheckpointPlace } from './checkpoint-outlet.js';

/** Where auditors on the bus hear of checkpoints. */
export const CHECKPOINT_SUBJECT = 'audit.checkpoint';

export const busPlace = (bus: { publish(subject: string, message: unknown): void }): CheckpointPlace => ({
  name: 'bus',
  every: ms(0),
  put: async (checkpoint) => bus.publish(CHECKPOINT_SUBJECT, checkpoint),
});

/** A folder, best on another machine's disk: `latest.note`, and one line of JSON a checkpoint in a file a day. */
export const folderPlace = (folder: string): CheckpointPlace => ({
  name: 'folder',
  every: seconds(1),
  async put(checkpoint) {
    await mkdir(folder, { recursive: true });
    const day = /^recorded-at (\S{10})/m.exec(checkpoint.note)?.[1] ?? 'undated';
    await appendFile(join(folder, `${day}.jsonl`), `${JSON.stringify(checkpoint)}\n`, { flush: true });
    const half = join(folder, 'latest.note.part');
    const file = await open(half, 'w', 0o644);
    try {
      await file.writeFile(checkpoint.note);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(half, join(folder, 'latest.note'));
  },
});

export interface BucketOptions {
  /** Address of the bucket, with a prefix when wanted, e.g. `https://s3.example/audit/cloud-1`. */
  readonly url: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Days for which nobody can remove an object (object lock in compliance mode); 0 for buckets without. */
  readonly retentionDays: number;
  readonly now: () => number;
}

const PUT_DEADLINE = 10_000;

/** An S3-compatible bucket: an object a checkpoint, locked against its own owner. */
export const bucketPlace = (options: BucketOptions): CheckpointPlace => {
  const { accessKeyId, secretAccessKey, region, retentionDays } = options;
  const client = new AwsClient({ accessKeyId, secretAccessKey, region, service: 's3', retries: 0 });
  return {
    name: 'bucket',
    every: seconds(60),
    async put({ size, note }: Checkpoint) {
      const until = new Date(options.now() + retentionDays * 86_400_000).toISOString();
      const answer = await client.fetch(`${options.url.replace(/\/+$/, '')}/${String(size).padStart(16, '0')}.note`, {
        method: 'PUT',
        body: note,
        signal: AbortSignal.timeout(PUT_DEADLINE),
        headers: {
          'content-type': 'text/plain; charset=utf-8',
          'content-md5': createHash('md5').update(note).digest('base64'),
          ...(retentionDays > 0
            ? { 'x-amz-object-lock-mode': 'COMPLIANCE', 'x-amz-object-lock-retain-until-date': until }
            : {}),
        },
      });
      if (answer.ok) return;
      throw new Error(`the bucket answered ${answer.status}: ${(await answer.text()).slice(0, 500)}`);
    },
  };
};
