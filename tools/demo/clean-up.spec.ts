import { describe, expect, it } from 'vitest';
import { Client } from '../start/client.mjs';
import { cleanUp } from './clean-up.mjs';

/** A cloud that gives a server's port back a moment after the server is gone, and refuses a group that is in use. */
class Cloud extends Client {
  readonly said: string[] = [];
  #port = 2;
  #server = true;
  constructor(private readonly serverIsThere = true) {
    super({ authUrl: '', username: '', password: '', project: '' });
    this.#server = serverIsThere;
  }
  override async request(method: string, _type: string, path: string) {
    this.said.push(`${method} ${path}`);
    if (method === 'GET' && path.startsWith('/servers?')) return { servers: this.#server ? [{ id: 's' }] : [] };
    if (method === 'GET' && path === '/servers/s') throw Object.assign(new Error('not found'), { status: 404 });
    if (method === 'GET' && path.startsWith('/ports?')) return { ports: this.#port-- > 0 ? [{ id: 'p' }] : [] };
    if (method === 'GET' && path.startsWith('/security-groups?')) return { security_groups: [{ id: 'g' }] };
    if (path === '/security-groups/g' && this.serverIsThere && this.#port >= 0)
      throw Object.assign(new Error('in use'), { status: 409 });
    if (path.startsWith('/os-keypairs')) throw Object.assign(new Error('not found'), { status: 404 });
    return '';
  }
}

describe('cleaning up after a demo', () => {
  it('waits for the ports of its server, and misses no keypair that was never made', async () => {
    const cloud = new Cloud();
    await cleanUp(cloud, 'demo-1');
    expect(cloud.said.filter((s) => s.startsWith('DELETE'))).toEqual([
      'DELETE /servers/s',
      'DELETE /security-groups/g',
      'DELETE /os-keypairs/demo-1',
    ]);
  });
  it('removes the rest when the server was never asked for', async () => {
    const cloud = new Cloud(false);
    await cleanUp(cloud, 'demo-1');
    expect(cloud.said).toContain('DELETE /security-groups/g');
  });
});
