import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasOpenssl, type PrivateNats, privateNats, TestAuthority } from '../testing/index.js';
import { serviceCredentials } from './credentials.js';
import { KeyRevoker } from './key-revoker.js';
import { NatsBus } from './nats-bus.js';
import { type NatsSettings, natsServers, natsServersOf } from './tls.js';

describe.skipIf(!hasOpenssl())('NATS with TLS', () => {
  const folder = mkdtempSync(join(tmpdir(), 'omnivisor-tls-'));
  let ours: TestAuthority;
  let theirs: TestAuthority;
  let nats: PrivateNats;
  let creds: string;
  const servers: PrivateNats[] = [];
  const serve = async (tls: Parameters<typeof privateNats>[0]) => {
    const server = await privateNats(tls);
    servers.push(server);
    return server;
  };
  beforeAll(async () => {
    [ours, theirs] = [new TestAuthority(folder, 'ours'), new TestAuthority(folder, 'theirs')];
    nats = await serve(ours.issue('nats', 'DNS:localhost'));
    creds = await serviceCredentials(nats.authority, 'spec');
  });
  afterAll(async () => {
    for (const server of servers) await server.close();
    rmSync(folder, { recursive: true });
  });

  const connect = async (url: string, settings: Partial<NatsSettings>, text = creds) => {
    const bus = await NatsBus.connect({
      servers: natsServers({ OMNIVISOR_NATS_URL: url, ...settings }),
      name: 'spec',
      wait: false,
      credentials: { kind: 'creds', text },
    });
    const isConnected = bus.connected();
    await bus.close();
    return isConnected;
  };
  const tls = (server = nats) => `tls://localhost:${server.port}`;
  /** The one address it listens on: `localhost` may be another one first, whose refusal would hide the reason. */
  const address = (server = nats) => `tls://127.0.0.1:${server.port}`;

  it('lets in whom its authority is told to, by either way of naming it', async () => {
    expect(await connect(tls(), { OMNIVISOR_NATS_CA_FILE: ours.ca })).toBe(true);
    expect(await connect(tls().replace('tls', 'nats'), { OMNIVISOR_NATS_CA_FILE: ours.ca })).toBe(true);
    const env = { OMNIVISOR_NATS_URL: tls(), OMNIVISOR_NATS_CA_FILE: ours.ca, OMNIVISOR_NATS_KEY_FILE: '' };
    expect(natsServersOf(env).tls).toHaveProperty('ca');
    const { authority } = nats;
    const servers = natsServers({ OMNIVISOR_NATS_URL: tls(), OMNIVISOR_NATS_CA_FILE: ours.ca });
    const revoker = await KeyRevoker.connect(servers, authority);
    await revoker.revoke([]);
    await revoker.close();
  });

  it.each([
    ['without an authority', () => ({}), /self-signed certificate|unable to verify|unable to get/],
    [
      'with a wrong one',
      () => ({ OMNIVISOR_NATS_CA_FILE: theirs.ca }),
      /self-signed certificate|unable to verify|unable to get/,
    ],
  ])('is not spoken to by a client %s', async (_, settings, reason) => {
    const error = await connect(address(), settings()).catch((e) => e);
    expect(error).toMatchObject({ kind: 'unavailable' });
    expect(String(error.cause?.cause ?? error.cause)).toMatch(reason);
  });

  it('OSSN-0096 is not spoken to when its certificate is of another name', async () => {
    const other = await serve(ours.issue('other', 'DNS:other.example'));
    const text = await serviceCredentials(other.authority, 'spec');
    const error = await connect(address(other), { OMNIVISOR_NATS_CA_FILE: ours.ca }, text).catch((e) => e);
    expect(error).toMatchObject({ kind: 'unavailable' });
    expect(String(error.cause?.cause ?? error.cause)).toMatch(/does not match certificate's altnames/);
  });

  it('is wanted of a server that offers none', async () => {
    const plain = await serve(undefined);
    const text = await serviceCredentials(plain.authority, 'spec');
    expect(await connect(`nats://localhost:${plain.port}`, {}, text)).toBe(true);
    for (const settings of [{}, { OMNIVISOR_NATS_CA_FILE: ours.ca }])
      await expect(connect(tls(plain), settings, text)).rejects.toMatchObject({ kind: 'unavailable' });
  });

  it('may ask its clients for certificates too', async () => {
    const mutual = await serve({ ...ours.issue('mutual', 'DNS:localhost'), ca: ours.ca });
    const text = await serviceCredentials(mutual.authority, 'spec');
    const own = (authority: TestAuthority, name: string) => {
      const { cert, key } = authority.issue(name, 'DNS:client');
      return { OMNIVISOR_NATS_CA_FILE: ours.ca, OMNIVISOR_NATS_CERT_FILE: cert, OMNIVISOR_NATS_KEY_FILE: key };
    };
    expect(await connect(tls(mutual), own(ours, 'client'), text)).toBe(true);
    const strangers = [{ OMNIVISOR_NATS_CA_FILE: ours.ca }, own(theirs, 'stranger')];
    const answers = await Promise.allSettled(strangers.map((stranger) => connect(tls(mutual), stranger, text)));
    expect(answers.map((answer) => answer.status)).toEqual(['rejected', 'rejected']);
  });
});
