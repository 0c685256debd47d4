#!/usr/bin/env node
/**
 * npm run demo [-- --keep]: a first server, the way a user gets one. Keypair, security group and server through the
 * public API, the guest's own console, a login by ssh, and at the end the story of the server out of the log. --keep leaves
 * it there; otherwise all of it is removed, also when the demo fails or is interrupted.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { argumentsOf } from '../arguments.mjs';
import { explain, Refused } from '../services/process.mjs';
import { adminBus } from '../start/admin.mjs';
import { IMAGE_NAME, NETWORK_NAME } from '../start/bootstrap.mjs';
import { demoClient } from '../start/client.mjs';
import { homeFolder } from '../start/options.mjs';
import { isAlive } from '../start/processes.mjs';
import { readState } from '../start/state.mjs';
import { cleanUp } from './clean-up.mjs';

const LIMIT = 85_000;
const began = Date.now();
const seconds = () => ((Date.now() - began) / 1000).toFixed(1).padStart(5);
const say = (line) => console.log(`${seconds()} s  ${line}`);

const { keep } = argumentsOf(import.meta.url, { options: { keep: { type: 'boolean' } } }).values;
const home = homeFolder();
const folder = mkdtempSync(join(tmpdir(), 'omnivisor-demo-'));
const name = `demo-${began.toString(36)}`;

let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
  process.on(signal, () => {
    if (interrupted) process.exit(130);
    interrupted = true;
    say(`${signal}: cleaning up; once more leaves it all there`);
  });

/** A client whose next request fails once the demo is interrupted. */
const interruptible = (client) =>
  Object.assign(Object.create(client), {
    request: async (...args) => {
      if (interrupted) throw new Refused('interrupted');
      return client.request(...args);
    },
  });

const command = (name, args, options = {}) => spawnSync(name, args, { encoding: 'utf8', ...options });

const asRoot = (args) => (process.getuid?.() === 0 ? args : ['sudo', '-n', ...args]);

/** Network namespaces of this machine that hold a network of ours. */
const namespaces = () => {
  const listed = command('ip', ['netns', 'list']);
  if (listed.status !== 0) throw new Refused(`ip netns list: ${listed.stderr || listed.error?.message}`);
  return listed.stdout.split('\n').flatMap((line) => (line.trim() === '' ? [] : [line.split(' ')[0]]));
};

/** The namespace in which an address answers on the ssh port: networks of different projects may use the same one. */
const sshThrough = (address, networkId, key) => {
  const mine = namespaces().filter((name) => name.includes(networkId.slice(0, 8)) || name.includes(networkId));
  for (const namespace of mine) {
    const options = [
      'StrictHostKeyChecking=no',
      `UserKnownHostsFile=${folder}/known`,
      'ConnectTimeout=2',
      'BatchMode=yes',
      'LogLevel=ERROR',
    ];
    const [name, ...rest] = asRoot([
      'ip',
      'netns',
      'exec',
      namespace,
      'ssh',
      '-i',
      key,
      ...options.flatMap((o) => ['-o', o]),
      `root@${address}`,
      'echo "logged in as $(whoami) on $(hostname), kernel $(uname -r), up $(cut -d. -f1 /proc/uptime) s"',
    ]);
    const done = command(name, rest, { timeout: 10_000 });
    if (done.status === 0) return done.stdout.trim();
  }
  return null;
};

const printable = (text) => [...stripVTControlCharacters(text)].filter((c) => c === '\n' || c >= ' ').join('');

/** Prints what the guest wrote to its console since the last time. */
const consoleFollower = (demo, serverId) => {
  let seen = 0;
  return async () => {
    let output;
    try {
      ({ output } = await demo.post('compute', `/servers/${serverId}/action`, { 'os-getConsoleOutput': {} }));
    } catch (error) {
      if ([404, 409, 503].includes(error.status)) return ''; // no guest yet
      throw error;
    }
    const whole = output.slice(0, output.lastIndexOf('\n') + 1);
    for (const line of printable(whole.slice(seen)).split('\n')) if (line !== '') console.log(`         | ${line}`);
    seen = Math.max(seen, whole.length);
    return output;
  };
};

const printStory = async (serverId, natsUrl) => {
  const bus = await adminBus({ url: natsUrl, credentialsFile: join(home, 'cli.creds') });
  try {
    const { requests } = await bus.ask('api-gateway', 'audit-why', { server: serverId });
    const from = Date.parse(requests[0].at);
    console.log('\nThe story of this server, out of the log:');
    const tell = (node, depth) => {
      const indent = ' '.repeat(13 + 2 * depth);
      console.log(
        `  +${((Date.parse(node.at) - from) / 1000).toFixed(3)} s${'  '.repeat(depth)}  ${node.type}  ${node.what}`,
      );
      for (const reason of node.reasons) console.log(`${indent}because: ${reason}`);
      if (node.call) console.log(`${indent}hypervisor call: ${node.call.operation} on ${node.call.host}`);
      for (const effect of node.effects) tell(effect, depth + 1);
    };
    for (const { who, requestId, effects } of requests) {
      console.log(`  ${who}, ${requestId}`);
      for (const effect of effects) tell(effect, 1);
    }
    return from;
  } finally {
    await bus.close();
  }
};

const running = () => {
  const state = readState(home);
  if (!state || !isAlive(state.supervisor) || !state.ready)
    throw new Refused('no cloud is running here: npm start first');
  return state;
};

const demonstrate = async (demo, state) => {
  say(`logged in as demo at ${state.endpoint}`);

  const [image] = (await demo.get('image', `/images?name=${IMAGE_NAME}`)).images;
  if (!image) throw new Refused(`there is no image ${IMAGE_NAME}; a cloud with real hosts makes it at its first start`);
  const flavor = (await demo.get('compute', '/flavors')).flavors.find((f) => f.name === 'm1.nano');
  if (!flavor) throw new Refused('there is no flavor m1.nano');
  const [network] = (await demo.get('network', `/networks?name=${NETWORK_NAME}`)).networks;
  if (!network) throw new Refused(`there is no network ${NETWORK_NAME}`);

  const key = join(folder, 'key');
  const made = command('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', key]);
  if (made.status !== 0) throw new Refused(`ssh-keygen: ${made.stderr || made.error?.message}`);
  await demo.post('compute', '/os-keypairs', {
    keypair: { name, type: 'ssh', public_key: readFileSync(`${key}.pub`, 'utf8') },
  });
  say(`keypair ${name}`);

  const group = (await demo.post('network', '/security-groups', { security_group: { name } })).security_group;
  for (const rule of [{ protocol: 'tcp', port_range_min: 22, port_range_max: 22 }, { protocol: 'icmp' }])
    await demo.post('network', '/security-group-rules', {
      security_group_rule: { security_group_id: group.id, direction: 'ingress', ethertype: 'IPv4', ...rule },
    });
  say(`security group ${name}: tcp/22 and icmp may come in`);

  const { server } = await demo.post('compute', '/servers', {
    server: {
      name,
      imageRef: image.id,
      flavorRef: flavor.id,
      key_name: name,
      networks: [{ uuid: network.id }],
      security_groups: [{ name }],
    },
  });
  say(`server ${server.id} accepted`);

  const left = () => LIMIT - (Date.now() - began);
  const active = await demo.until('ACTIVE', Math.min(60_000, left()), async () => {
    const { server: now } = await demo.get('compute', `/servers/${server.id}`);
    if (now.status === 'ERROR') throw new Error(`the server is in ERROR: ${now.fault?.message}`);
    return now.status === 'ACTIVE' && now;
  });
  const address = Object.values(active.addresses).flat()[0]?.addr;
  say(`ACTIVE at ${address}; its console says:`);

  const follow = consoleFollower(demo, server.id);
  await demo.until('the guest to finish booting', left(), async () => /finished|login:/i.test(await follow()), 400);
  const firstLine = Date.now();
  const greeting = await demo.until('a login by ssh', left(), () => sshThrough(address, network.id, key), 500);
  await follow();
  say(`ssh root@${address}: ${greeting}`);
  const from = await printStory(server.id, state.natsUrl);
  console.log(`  +${((firstLine - from) / 1000).toFixed(3)} s  the guest's console said that its boot had finished`);
  if (keep) console.log(`\nThe server stays: . ${home}/openrc-demo; openstack server show ${name}`);
};

let status = 0;
const attempt = async (what, work) => {
  try {
    await work();
    return true;
  } catch (error) {
    console.error(`\n${what}${explain(error)}`);
    status = 1;
    return false;
  }
};

await attempt('', async () => {
  const state = running();
  const demo = await demoClient(home);
  const succeeded = await attempt('', () => demonstrate(interruptible(demo), state));
  if (!succeeded || !keep) await attempt('cleaning up: ', () => cleanUp(demo, name));
});
rmSync(folder, { recursive: true, force: true });
if (status === 0) say(`done${keep ? '' : ', and cleaned up'}`);
process.exit(status);
