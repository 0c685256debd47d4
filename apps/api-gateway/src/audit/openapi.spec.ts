import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { openApi } from './openapi.js';
import { AuditCloud } from './testing/audit-cloud.js';

const FILE = fileURLToPath(new URL('../../../../docs/api/audit.openapi.json', import.meta.url));

it('serves the document of the audit API that the repository keeps', async () => {
  const cloud = await AuditCloud.start();
  const { body, status } = await cloud.call('/audit/v1/openapi.json');
  expect(status).toBe(200);
  expect(body).toEqual(JSON.parse(JSON.stringify(openApi())));
  // `npx vitest run apps/api-gateway/src/audit/openapi -u` writes it anew.
  await expect(`${JSON.stringify(body, null, 2)}\n`).toMatchFileSnapshot(FILE);
  await cloud.stop();
});
