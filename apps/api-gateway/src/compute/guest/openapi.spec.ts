import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { openApi } from './openapi.js';

const FILE = fileURLToPath(new URL('../../../../../docs/api/guest.openapi.json', import.meta.url));

it('is described by the document that the repository keeps', async () => {
  // `npx vitest run apps/api-gateway/src/compute/guest/openapi -u` writes it anew.
  await expect(`${JSON.stringify(openApi(), null, 2)}\n`).toMatchFileSnapshot(FILE);
});
