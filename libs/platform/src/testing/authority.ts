import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** True on a machine that can make certificates for specs. */
export const hasOpenssl = (): boolean => spawnSync('openssl', ['version']).status === 0;

export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

/** An authority of a spec, in a folder of its own; keys on the curve P-256, good for a day. */
export class TestAuthority {
  readonly ca: string;

  constructor(
    private readonly folder: string,
    private readonly name: string,
  ) {
    this.ca = join(folder, `${name}.crt`);
    const key = join(folder, `${name}.key`);
    openssl(['req', '-x509', ...NEW_KEY, '-keyout', key, '-out', this.ca, '-days', '1', '-subj', `/CN=${name}`]);
  }

  /** @param names as certificates have them, e.g. `DNS:localhost` */
  issue(file: string, names: string): CertificateFiles {
    const at = (ending: string) => join(this.folder, `${file}.${ending}`);
    openssl(['req', ...NEW_KEY, '-keyout', at('key'), '-out', at('csr'), '-subj', `/CN=${file}`]);
    writeFileSync(at('ext'), `subjectAltName=${names}\n`);
    const signer = ['-CA', this.ca, '-CAkey', join(this.folder, `${this.name}.key`), '-CAcreateserial'];
    openssl(['x509', '-req', '-in', at('csr'), ...signer, '-out', at('crt'), '-days', '1', '-extfile', at('ext')]);
    return { cert: at('crt'), key: at('key') };
  }
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
const openssl = (args: readonly string[]) => execFileSync('openssl', args, { stdio: 'pipe' });
