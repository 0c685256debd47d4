import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bucketPlace, folderPlace } from './checkpoint-places.js';

const checkpoint = (size: number) => ({
  size,
  position: size,
  note: `omnivisor/spec\n${size}\nAAAA\nposition ${size}\nrecorded-at 2026-01-02T03:04:05.678Z\n\n— omnivisor/spec AAAA\n`,
});

describe('a folder', () => {
  it('has the newest as a note, and each of a day as a line', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'checkpoints-'));
    const place = folderPlace(join(folder, 'made', 'here'));
    for (const size of [3, 7]) await place.put(checkpoint(size));
    const file = (name: string) => readFileSync(join(folder, 'made', 'here', name), 'utf8');
    expect(file('latest.note')).toBe(checkpoint(7).note);
    expect(
      file('2026-01-02.jsonl')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual([checkpoint(3), checkpoint(7)]);
    rmSync(folder, { recursive: true });
  });
});

describe('a bucket', () => {
  let server: Server;
  let requests: { request: IncomingMessage; body: string }[];
  let status: number;
  beforeEach(async () => {
    [requests, status] = [[], 200];
    server = createServer(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      requests.push({ request, body });
      response.writeHead(status).end('<Error><Code>AccessDenied</Code></Error>');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterEach(() => void server.close());

  const place = (retentionDays: number) =>
    bucketPlace({
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/audit/cloud-1/`,
      region: 'eu-west-1',
      accessKeyId: 'AKIDEXAMPLE',
      secretAccessKey: 'a secret',
      retentionDays,
      now: () => Date.parse('2026-01-02T00:00:00Z'),
    });

  it('gets an object that is signed, whole, and locked against its owner', async () => {
    await place(30).put(checkpoint(7));
    const [{ request, body }] = requests as [(typeof requests)[0]];
    expect([request.method, request.url]).toEqual(['PUT', '/audit/cloud-1/0000000000000007.note']);
    expect(body).toBe(checkpoint(7).note);
    expect(request.headers).toMatchObject({
      'content-md5': createHash('md5').update(body).digest('base64'),
      'x-amz-object-lock-mode': 'COMPLIANCE',
      'x-amz-object-lock-retain-until-date': '2026-02-01T00:00:00.000Z',
      authorization: expect.stringMatching(
        /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/\d{8}\/eu-west-1\/s3\/aws4_request/,
      ),
    });
    expect(request.headers.authorization).toContain('x-amz-object-lock-mode');
    expect(JSON.stringify(request.headers)).not.toContain('a secret');
  });

  it('may be without locks', async () => {
    await place(0).put(checkpoint(7));
    expect(requests[0]!.request.headers).not.toHaveProperty('x-amz-object-lock-mode');
  });

  it('that refuses is an error with its words', async () => {
    status = 403;
    await expect(place(30).put(checkpoint(7))).rejects.toThrow('the bucket answered 403: <Error><Code>AccessDenied');
  });
});
