import { execFileSync } from 'node:child_process';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { type ImageFormat, ms } from '@omnivisor/contracts';
import { imagesTable } from '../../apps/image-service/src/image/image.projection.js';
import { Sandbox } from '../../apps/image-service/src/sandbox/sandbox.js';
import { FileImageStore } from '../../apps/image-service/src/store/index.js';
import { startImageCloud } from '../../apps/image-service/src/testing/image-cloud.js';

const builder = fileURLToPath(new URL('image.mjs', import.meta.url));
const cache = join(tmpdir(), 'omnivisor-test-image');

/** The test image, uploaded once to an image service of its own, which makes the forms that hypervisors take. */
export const startOneImage = async () => {
  const built = execFileSync(process.execPath, [builder, '--cache', cache], { encoding: 'utf8' }).trim();
  const folder = await mkdtemp(join(tmpdir(), 'one-image-'));
  const cloud = await startImageCloud({
    store: await FileImageStore.open(join(folder, 'store')),
    sandbox: Sandbox.detect(),
  });
  const ask = async (method: 'POST' | 'PUT', path: string, type: string, payload: string | NodeJS.ReadableStream) => {
    const headers = { 'x-auth-token': 'p1', 'content-type': type };
    const answer = await cloud.app.fastify.inject({ method, url: `/image/v2/images${path}`, headers, payload });
    if (answer.statusCode >= 300) throw new Error(`${method} ${path}: ${answer.body}`);
    return answer;
  };
  const wanted = JSON.stringify({ disk_format: 'qcow2', container_format: 'bare' });
  const { id } = (await ask('POST', '', 'application/json', wanted)).json();
  await ask('PUT', `/${id}/file`, 'application/octet-stream', createReadStream(built));
  const image = (await (await cloud.core.fresh()).get(imagesTable, id))!;
  return {
    cloud,
    image,
    /** A file with the bytes that a host would get. */
    file: async (form: ImageFormat): Promise<string> => {
      const path = join(folder, `disk.${form}`);
      const ready = await cloud.forms.ready(image, form, ms(120_000));
      await pipeline(await cloud.forms.read(ready!), createWriteStream(path));
      return path;
    },
    stop: async () => {
      await cloud.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
};
export type OneImage = Awaited<ReturnType<typeof startOneImage>>;
