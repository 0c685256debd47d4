import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestPool } from '../../../../../../tools/doubles/xapi/testing/pool.js';
import { which } from '../../../../../../tools/services/process.mjs';
import { upload } from './transfer.js';
import type { Trust } from './trust.js';
import { fromXapi } from './xapi-error.js';
import { XapiSession } from './xapi-session.js';

const folder = mkdtempSync(join(tmpdir(), 'xapi-tls-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A self-signed certificate, as a host makes itself one when it is installed. */
const certificate = (name: string) => {
  const [key, cert] = [join(folder, `${name}.key`), join(folder, `${name}.pem`)];
  const names = 'subjectAltName=IP:127.0.0.1,IP:127.0.0.2';
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const target = ['-keyout', key, '-out', cert, '-subj', `/CN=${name}`, '-days', '2', '-addext', names];
  execFileSync('openssl', ['req', '-x509', ...kind, ...target], { stdio: 'ignore' });
  return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
};

describe.skipIf(!which('openssl'))('a pool behind TLS (needs openssl)', () => {
  let pool: TestPool;
  let own: { key: string; cert: string };
  let other: { key: string; cert: string };
  beforeAll(async () => {
    [own, other] = [certificate('xs1'), certificate('somebody')];
    pool = await TestPool.start({ addresses: ['127.0.0.1', '127.0.0.2'], tls: own }, false);
  });
  afterAll(() => pool.stop());

  const fingerprint = (pem: string) => new X509Certificate(pem).fingerprint256;
  const answers = async (trust: Trust): Promise<string> => {
    const xapi = new XapiSession({ urls: [pool.double.url(1)], user: 'root', password: 'secret', trust });
    try {
      const [storage] = await xapi.call<string[]>('SR.get_by_name_label', 'NFS virtual disk storage');
      const vdi = await xapi.run('VDI.create', [
        { SR: storage, virtual_size: 1, type: 'user', sharable: false, read_only: false, other_config: {} },
      ]);
      const body = { stream: Readable.from([Buffer.alloc(512)]), length: 512 };
      await upload(xapi, vdi, 'raw', body, new AbortController().signal);
      return 'trusted';
    } catch (error) {
      return fromXapi(error, 'asking').code;
    } finally {
      await xapi.close();
    }
  };

  it('is trusted by its authority or its pinned certificate, for calls and transfers', async () => {
    expect(await answers({ kind: 'authorities', pem: own.cert })).toBe('trusted');
    expect(await answers({ kind: 'pinned', fingerprints: [fingerprint(other.cert), fingerprint(own.cert)] })).toBe(
      'trusted',
    );
    const plain = fingerprint(own.cert).replaceAll(':', '').toLowerCase();
    expect(await answers({ kind: 'pinned', fingerprints: [plain] })).toBe('trusted');
  });

  it('is not spoken to otherwise', async () => {
    expect(await answers({ kind: 'authorities', pem: null })).toBe('unavailable');
    expect(await answers({ kind: 'authorities', pem: other.cert })).toBe('unavailable');
    expect(await answers({ kind: 'pinned', fingerprints: [fingerprint(other.cert)] })).toBe('unavailable');
    expect(pool.double.faults.counts.get('session.login_with_password')).toBe(3);
  });
});
