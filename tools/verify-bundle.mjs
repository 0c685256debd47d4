#!/usr/bin/env node
/**
 * node verify-bundle.mjs FOLDER --key FILE [--checkpoint FILE]…
 *
 * Checks an exported log without the cloud that wrote it, and with nothing but Node.
 *
 * FOLDER      as `omnivisor audit export --format bundle --out FOLDER` wrote it
 * --key       public keys you trust, one a line, as `omnivisor audit key` printed them to you
 * --checkpoint  a checkpoint that had left the cloud, older or newer than the bundle's own; or a day's, as *.jsonl
 *
 * Ends with 0 when every event is the one that was sealed, with 1 and the first that is not otherwise, with 2 when it
 * was asked wrongly. It shares no code with the cloud, so that a mistake there is not made here again.
 */
import { createHash, createPublicKey, verify } from 'node:crypto';
import { createReadStream, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

class Refused extends Error {}

const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest();
const refuse = (what) => {
  throw new Refused(what);
};

/** `<name>+<8 hexadecimal digits>+<base64 of 0x01 and 32 bytes>` */
const readKey = (line) => {
  const [, name, id, encoded] = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/.exec(line) ?? [];
  const bytes = Buffer.from(encoded ?? '', 'base64');
  const isKey = bytes.length === 33 && bytes[0] === 1;
  if (!isKey || sha256(`${name}\n`, bytes).subarray(0, 4).toString('hex') !== id) refuse(`not a public key: ${line}`);
  const x = bytes.subarray(1).toString('base64url');
  return { name, id, key: createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' }) };
};

/** A note's text ends before the last empty line; below it stands one signature a line. */
const readCheckpoint = (note, keys, what) => {
  const end = note.lastIndexOf('\n\n');
  if (end < 0) refuse(`${what} is not a signed note`);
  const text = note.slice(0, end + 1);
  const [origin, size, root] = text.split('\n');
  let signatures = 0;
  for (const line of note
    .slice(end + 2)
    .split('\n')
    .filter(Boolean)) {
    const [dash, name, encoded] = line.split(' ');
    const bytes = Buffer.from(encoded ?? '', 'base64');
    if (dash !== '—' || bytes.length !== 68) refuse(`${what} has a line that is no signature`);
    const key = keys.find((k) => k.name === name && name === origin && k.id === bytes.subarray(0, 4).toString('hex'));
    if (!key) continue;
    if (!verify(null, Buffer.from(text), key.key, bytes.subarray(4)))
      refuse(`${what} has a wrong signature of ${name}`);
    signatures++;
  }
  if (signatures === 0) refuse(`${what} is not signed by a key you trust`);
  if (!/^\d+$/.test(size ?? '')) refuse(`${what} names no size`);
  return { origin, size: Number(size), root: Buffer.from(root ?? '', 'base64'), what };
};

/** Checkpoints of a file that had left: one as a note, or one a line as the folder of a day has them. */
const readCheckpoints = (file, keys) => {
  const text = readFileSync(file, 'utf8');
  if (!file.endsWith('.jsonl')) return [readCheckpoint(text, keys, file)];
  const lines = text.split('\n').filter(Boolean);
  if (lines.length === 0) refuse(`${file} has no checkpoint`);
  return lines.map((line, i) => {
    const what = `line ${i + 1} of ${file}`;
    let note;
    try {
      ({ note } = JSON.parse(line));
    } catch {
      refuse(`${what} is not JSON`);
    }
    return readCheckpoint(String(note), keys, what);
  });
};

/** Roots of complete subtrees, the largest first: RFC 6962 as a binary counter. */
class Tree {
  size = 0;
  #stack = [];
  add(leaf) {
    let node = { hash: leaf, leaves: 1 };
    for (let top = this.#stack.at(-1); top?.leaves === node.leaves; top = this.#stack.at(-1)) {
      this.#stack.pop();
      node = { hash: sha256('\x01', top.hash, node.hash), leaves: 2 * node.leaves };
    }
    this.#stack.push(node);
    this.size++;
  }
  root() {
    const hashes = this.#stack.map((node) => node.hash);
    return hashes.length === 0 ? sha256() : hashes.reduceRight((right, left) => sha256('\x01', left, right));
  }
}

const MEMBERS = 'id,meta,ordinal,payload,recordedAt,revision,stream,type';

/** What a line must be beyond its hash, so that two readers of a bundle read the same. */
const checkLine = (line, ordinal) => {
  let event;
  try {
    event = JSON.parse(line);
  } catch {
    refuse(`event ${ordinal} is not JSON`);
  }
  if (event.ordinal !== ordinal) refuse(`event ${ordinal} is missing: event ${event.ordinal} stands in its place`);
  if (Object.keys(event).join() !== MEMBERS) refuse(`event ${ordinal} has other members than an event`);
};

/** Lines end with a line feed and nothing else: texts may have other characters that some take for an end. */
const lines = async function* (folder) {
  const files = readdirSync(folder)
    .filter((name) => /^events-\d{12}\.jsonl$/.test(name))
    .sort();
  for (const name of files) {
    let rest = Buffer.alloc(0);
    for await (const chunk of createReadStream(join(folder, name))) {
      let text = Buffer.concat([rest, chunk]);
      for (let end = text.indexOf(10); end >= 0; end = text.indexOf(10)) {
        yield text.subarray(0, end);
        text = text.subarray(end + 1);
      }
      rest = text;
    }
    if (rest.length > 0) refuse(`${name} ends in the middle of a line`);
  }
};

/** Read when it is asked for: what comes by the standard input has no file. */
const usage = () =>
  /\/\*\*(.*?)\*\//s
    .exec(readFileSync(new URL(import.meta.url), 'utf8'))[1]
    .replace(/^ \* ?/gm, '')
    .trim();

const argumentsOf = () => {
  const files = { type: 'string', multiple: true, default: [] };
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { key: files, checkpoint: files, help: { type: 'boolean' } },
  });
  if (!values.help && (positionals.length !== 1 || values.key.length === 0))
    throw new Error('one FOLDER and a --key are needed');
  return { ...values, folder: positionals[0] };
};

const main = async () => {
  let given;
  try {
    given = argumentsOf();
  } catch (error) {
    console.error(`${error.message.replaceAll('\n', ' ')}\n\n${usage()}`);
    return 2;
  }
  const { key, checkpoint, folder, help } = given;
  if (help) {
    console.log(usage());
    return 0;
  }
  const keys = key.flatMap((file) =>
    readFileSync(file, 'utf8')
      .split('\n')
      .map((l) => l.trim())
      .filter((l) => l !== '' && !l.startsWith('#'))
      .map(readKey),
  );
  const own = readCheckpoint(readFileSync(join(folder, 'checkpoint.note'), 'utf8'), keys, "the bundle's checkpoint");
  const heads = [own, ...checkpoint.flatMap((file) => readCheckpoints(file, keys))];
  for (const head of heads) if (head.origin !== own.origin) refuse(`${head.what} is of another log, ${head.origin}`);
  const tree = new Tree();
  let good = 0;
  const compare = () => {
    for (const head of heads) {
      if (head.size !== tree.size) continue;
      if (!head.root.equals(tree.root()))
        refuse(`an event from ${good} to ${tree.size - 1} is not what ${head.what} signs`);
      good = tree.size;
    }
  };
  compare();
  for await (const line of lines(folder)) {
    checkLine(line, tree.size);
    tree.add(sha256('\x00', line));
    compare();
  }
  const longest = heads.reduce((a, b) => (b.size > a.size ? b : a));
  if (tree.size < longest.size) refuse(`event ${tree.size} is missing: ${longest.what} signs ${longest.size}`);
  if (tree.size > own.size) refuse(`event ${own.size} and later are not covered by the bundle's checkpoint`);
  console.log(`ok: ${tree.size} events of ${own.origin} are those that were sealed`);
  return 0;
};

main().then(
  (code) => process.exit(code),
  (error) => {
    console.error(error instanceof Refused ? `NOT AS SEALED: ${error.message}` : `cannot check: ${error.message}`);
    process.exit(error instanceof Refused ? 1 : 2);
  },
);
