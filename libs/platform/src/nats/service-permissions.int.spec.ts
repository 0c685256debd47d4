import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import * as contracts from '@omnivisor/contracts';
import { adminSubject, at, hostBus, servicePermissions } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type PrivateNats, privateNats } from '../testing/private-nats.js';
import {
  createUserKey,
  credsText,
  hostInbox,
  hostPermissions,
  inboxOf,
  serviceCredentials,
  serviceInbox,
  signUser,
} from './credentials.js';
import { authenticator } from './login.js';

const host = '6f70656e-6e65-4bad-8f0d-5c6e3f2a1b07';
let nats: PrivateNats;
const programs: Record<string, NatsConnection> = {};
const open = async (text: string) =>
  connect({
    servers: nats.url,
    inboxPrefix: (await inboxOf(text)) ?? '_INBOX',
    ...authenticator({ kind: 'creds', text }),
  });
beforeAll(async () => {
  nats = await privateNats();
  for (const [name, permissions] of Object.entries(servicePermissions))
    programs[name] = await open(await serviceCredentials(nats.authority, name, permissions));
  const key = createUserKey();
  const jwt = await signUser(nats.authority.accountSeed, 'host', key.publicKey, hostPermissions(host));
  programs.host = await open(credsText(jwt, key.seed));
});
afterAll(async () => {
  for (const program of Object.values(programs)) await program.close();
  await nats?.close();
});

/** True when the server lets it hear this. */
const hears = async (who: string, subject: string): Promise<boolean> => {
  const program = programs[who]!;
  const refusals: Error[] = [];
  const callback = (error: Error | null) => void (error && refusals.push(error));
  const subscription = program.subscribe(subject, { callback });
  await program.flush();
  await program.flush();
  subscription.unsubscribe();
  return refusals.length === 0;
};

const gateway = 'api-gateway';
const endpoints = (Object.values({ ...contracts, ...hostBus }) as unknown[]).filter(
  (value): value is contracts.Endpoint =>
    typeof value === 'object' && value !== null && 'subject' in value && 'reply' in value,
);

/** Who asks what of whom. */
const asked: readonly (readonly [asks: string, subject: string, answers: string])[] = [
  ...endpoints.map((e) => {
    const [kind] = e.subject.split('.');
    const answers = Object.keys(servicePermissions).filter((s) => servicePermissions[s]!.subscribe.includes(e.subject));
    const asks = { host: 'host', image: gateway, scheduler: gateway, identity: 'image-service' }[kind!]!;
    return [asks, at(e, host), answers.join(' and ')] as const;
  }),
  ['scheduler', 'identity.validate', gateway],
  [gateway, adminSubject('scheduler', 'host-enable'), 'scheduler'],
  ...[gateway, 'scheduler', 'image-service'].map((app) => ['omnivisor-cli', adminSubject(app, 'health'), app] as const),
];

describe('programs on the bus', () => {
  it.each(asked)('%s asks %s, and %s alone answers', async (asks, subject, answers) => {
    const responder = programs[answers]!;
    const subscription = responder.subscribe(subject, { callback: (_, message) => void message?.respond('yes') });
    await responder.flush();
    expect((await programs[asks]!.request(subject, '', { timeout: 2_000 })).string()).toBe('yes');
    subscription.unsubscribe();
    for (const other of Object.keys(programs).filter((name) => name !== answers))
      expect([other, await hears(other, subject)]).toEqual([other, false]);
  });

  it('keep their key when what they may is signed anew', async () => {
    const before = await serviceCredentials(nats.authority, 'watcher', { publish: [], subscribe: [] });
    const again = await serviceCredentials(nats.authority, 'watcher', { publish: [], subscribe: ['news'] }, before);
    const seed = (creds: string) => /^SU[A-Z0-9]+$/m.exec(creds)![0];
    expect(seed(again)).toBe(seed(before));
    programs.watcher = await open(again);
    expect(await hears('watcher', 'news')).toBe(true);
    await programs.watcher.close();
    delete programs.watcher;
  });

  it('wake hosts and tell of appends, each as it may', async () => {
    const heard = new Promise((resolve) => programs.host!.subscribe(`wake.${host}`, { callback: resolve }));
    await programs.host!.flush();
    programs[gateway]!.publish(`wake.${host}`, '{}');
    await heard;
    for (const name of [gateway, 'scheduler', 'image-service'])
      expect([name, await hears(name, 'log.appended')]).toEqual([name, true]);
    expect(await hears('omnivisor-cli', 'log.appended')).toBe(false);
  });

  it('have the gateway publish the log to streams', async () => {
    const manager = await jetstreamManager(programs[gateway]!);
    const subjects = ['events.>', 'cadf.>', 'versioned_notifications.>'];
    await manager.streams.add({ name: 'LOG', subjects });
    const client = jetstream(programs[gateway]!);
    for (const [i, subject] of ['events.ServerDeleted', 'cadf.activity.x', 'versioned_notifications.info'].entries())
      expect((await client.publish(subject, '{}')).seq).toBe(i + 1);
    expect((await manager.streams.getMessage('LOG', { last_by_subj: 'events.>' }))?.seq).toBe(1);
    await manager.streams.delete('LOG');
  });

  it.each([
    ['scheduler', `wake.${host}`],
    ['image-service', `wake.${host}`],
    ['image-service', 'scheduler.reserve'],
    ['scheduler', 'admin.api-gateway.audit-list'],
    ['omnivisor-cli', 'scheduler.reserve'],
    ['omnivisor-cli', 'log.appended'],
    ['scheduler', '$JS.API.STREAM.DELETE.OMNIVISOR_EVENTS'],
    ['image-service', 'events.ServerDeleted'],
    [gateway, 'identity.validate'],
  ])('%s says nothing on %s', async (who, subject) => {
    const watcher = await open(await serviceCredentials(nats.authority, 'watcher'));
    const heard: string[] = [];
    watcher.subscribe(subject, { callback: (_, message) => void heard.push(message.subject) });
    await watcher.flush();
    programs[who]!.publish(subject, '{}');
    await programs[who]!.flush();
    await watcher.flush();
    expect(heard).toEqual([]);
    await watcher.close();
  });

  it.each([...Object.keys(servicePermissions), 'host'])("%s hears its own answers, and nobody else's", async (who) => {
    const inboxes = Object.keys(servicePermissions).map((name) => [name, serviceInbox(name)]);
    for (const [whose, inbox] of [...inboxes, ['host', hostInbox(host)], ['older ones', '_INBOX']])
      for (const subject of [`${inbox}.>`, `${inbox}.*`, `${inbox}.Q3pZ.*`, `${inbox}.Q3pZ`])
        expect([subject, await hears(who, subject)]).toEqual([subject, whose === who]);
  });

  it.each(Object.keys(servicePermissions))('%s does not listen to everything', async (who) => {
    for (const subject of ['>', 'host.>', 'host.*.>', 'admin.>', 'wake.*', '_INBOX_*.>', '*.>', '*.*'])
      expect([subject, await hears(who, subject)]).toEqual([subject, false]);
  });
});
