import { endpoint } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { type PrivateNats, privateNats } from '../testing/private-nats.js';
import { createUserKey, credsText, hostInbox, hostPermissions, serviceCredentials, signUser } from './credentials.js';
import { KeyRevoker } from './key-revoker.js';
import { NatsBus } from './nats-bus.js';

const ask = endpoint('host.*.ask', z.object({}), z.object({ n: z.number() }));

describe('a key that is revoked', () => {
  let nats: PrivateNats;
  let revoker: KeyRevoker;
  let service: NatsBus;
  beforeAll(async () => {
    nats = await privateNats();
    revoker = await KeyRevoker.connect({ servers: nats.url }, nats.authority);
    const text = await serviceCredentials(nats.authority, 'service');
    service = await NatsBus.connect({ servers: nats.url, name: 's', credentials: { kind: 'creds', text } });
    await service.respond(ask, async () => ({ n: 1 }));
  });
  afterAll(async () => {
    await service?.close();
    await revoker?.close();
    await nats?.close();
  });

  const host = async (hostId: string) => {
    const key = createUserKey();
    const jwt = await signUser(nats.authority.accountSeed, hostId, key.publicKey, hostPermissions(hostId));
    const connect = () =>
      NatsBus.connect({
        servers: nats.url,
        name: hostId,
        credentials: { kind: 'creds', text: credsText(jwt, key.seed) },
        inboxPrefix: hostInbox(hostId),
        wait: false,
      });
    return { ...key, connect };
  };

  it('is cut off and connects no more; nobody else notices', async () => {
    const [retired, other] = [await host('retired'), await host('other')];
    const [its, theirs] = [await retired.connect(), await other.connect()];
    expect(await its.request(ask, {}, 'host.retired.ask')).toEqual({ n: 1 });
    await revoker.revoke([retired.publicKey]);
    await vi.waitFor(() => expect(its.connected()).toBe(false));
    await expect(retired.connect()).rejects.toMatchObject({ kind: 'forbidden' });
    expect(theirs.connected() && service.connected()).toBe(true);
    expect(await theirs.request(ask, {}, 'host.other.ask')).toEqual({ n: 1 });
    await revoker.revoke([retired.publicKey]);
    await expect(retired.connect()).rejects.toMatchObject({ kind: 'forbidden' });
    await Promise.all([its.close(), theirs.close()]);
  });

  it('has to be revoked again at a server that has forgotten it, together with the others', async () => {
    const [first, second] = [await host('first'), await host('second')];
    await revoker.revoke([first.publicKey]);
    await revoker.revoke([second.publicKey]);
    await expect(first.connect()).rejects.toMatchObject({ kind: 'forbidden' });
    await nats.stop();
    await nats.start();
    await vi.waitFor(() => revoker.revoke([first.publicKey, second.publicKey]), { timeout: 10_000 });
    await expect(first.connect()).rejects.toMatchObject({ kind: 'forbidden' });
    await expect(second.connect()).rejects.toMatchObject({ kind: 'forbidden' });
  });
});
