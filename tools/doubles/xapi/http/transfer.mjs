import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { receiveVm } from '../classes/vm-migrate.mjs';
import { fail, XapiFailure } from '../model/failure.mjs';
import { VhdError } from '../storage/vhd.mjs';

const FORMATS = ['raw', 'vhd'];

/** @throws {XapiFailure} when the session is none, or its role may not */
const authorize = (xapi, url, action, role) => {
  const session = xapi.sessions.check(url.searchParams.get('session_id'));
  xapi.sessions.authorize(session, `http/${action}`, role);
  return session;
};

const vdiOf = ({ db }, url) => {
  const named = url.searchParams.get('vdi') ?? fail('VDI_MISSING', '', '');
  if (db.has('VDI', named)) return named;
  return db.all('VDI').find(([, { uuid }]) => uuid === named)?.[0] ?? fail('UUID_INVALID', 'VDI', named);
};

/** The member that can reach the disk; null when it is the one that was asked. */
const elsewhere = ({ db }, host, vdi) => {
  const reaching = db
    .childrenOf('PBD', 'SR', db.get('VDI', vdi).SR)
    .map((ref) => db.get('PBD', ref))
    .filter((pbd) => pbd.currently_attached)
    .map((pbd) => pbd.host);
  if (reaching.length === 0) fail('SR_NOT_ATTACHED', db.get('VDI', vdi).SR);
  return reaching.includes(host) ? null : reaching[0];
};

const refuse = (xapi, url, response, error) => {
  const task = url.searchParams.get('task_id');
  if (task) xapi.tasks.fail(task, error);
  const status = error.code === 'SESSION_INVALID' ? 401 : error.code === 'RBAC_PERMISSION_DENIED' ? 403 : 400;
  response.writeHead(status, { connection: 'close', 'content-length': 0 }).end();
};

/** Finds the disk and the format, or answers and returns null. */
const begin = (xapi, host, url, response, action) => {
  try {
    authorize(xapi, url, action, 'vm-admin');
    const vdi = vdiOf(xapi, url);
    const other = elsewhere(xapi, host, vdi);
    if (other !== null) {
      const { scheme, port } = xapi.settings;
      const location = `${scheme}://${xapi.addressOf(other)}:${port}${url.pathname}${url.search}`;
      response.writeHead(302, { location, connection: 'close', 'content-length': 0 }).end();
      return null;
    }
    const format = url.searchParams.get('format') ?? 'raw';
    if (FORMATS.includes(format)) return { vdi, format };
    refuse(xapi, url, response, new XapiFailure('INTERNAL_ERROR', `Unknown format ${format}`));
    return null;
  } catch (error) {
    refuse(xapi, url, response, XapiFailure.of(error));
    return null;
  }
};

const attached = ({ db }, vdi, mode) =>
  db
    .childrenOf('VBD', 'VDI', vdi)
    .map((ref) => db.get('VBD', ref))
    .some((vbd) => vbd.currently_attached && (mode === undefined || vbd.mode === mode));

/** PUT /import_raw_vdi: the answer's head goes out before the body is read; how it went is in the task. */
export const importVdi = async (xapi, host, url, request, response) => {
  const target = begin(xapi, host, url, response, 'put_import_raw_vdi');
  if (!target) return;
  if (request.headers['transfer-encoding'] !== undefined) {
    refuse(xapi, url, response, new XapiFailure('INTERNAL_ERROR', 'Cannot handle encoding: chunked'));
    return;
  }
  const { vdi, format } = target;
  const task = url.searchParams.get('task_id');
  const { uuid, SR: sr } = xapi.db.get('VDI', vdi);
  if (attached(xapi, vdi)) return refuse(xapi, url, response, new XapiFailure('VDI_IN_USE', vdi, 'import'));
  response.writeHead(200, {
    'content-type': 'application/octet-stream',
    connection: 'close',
    ...(task ? { 'task-id': task } : {}),
  });
  response.flushHeaders();
  try {
    await xapi.faults.before('PUT /import_raw_vdi', [vdi]);
    if (Number(request.headers['content-length'] ?? 0) > 0)
      await xapi.disks.write(uuid, format, progressing(xapi, task, request));
    xapi.db.touch('VDI', vdi);
    assertFits(xapi, sr);
    if (task) xapi.tasks.succeed(task, 'VDI ref', vdi);
    response.end();
  } catch (error) {
    const failure =
      error instanceof VhdError || error.code === 'ECONNRESET' || request.destroyed
        ? new XapiFailure('VDI_IO_ERROR', error.message)
        : error;
    if (task) xapi.tasks.fail(task, failure);
    response.destroy();
  }
};

/** Thin storage runs full while it is written. */
const assertFits = ({ db }, sr) => {
  const { physical_utilisation: used, physical_size: size } = db.view('SR', sr);
  if (used > size) throw new VhdError('no space is left');
};

async function* progressing(xapi, task, request) {
  const total = Number(request.headers['content-length']);
  const signal = task ? xapi.tasks.signal(task) : new AbortController().signal;
  let done = 0;
  let told = 0;
  for await (const chunk of request) {
    if (signal.aborted) fail('TASK_CANCELLED', task);
    done += chunk.length;
    if (task && done / total - told > 0.1) {
      told = done / total;
      xapi.tasks.progress(task, told);
    }
    yield chunk;
  }
}

/** GET /export_raw_vdi */
export const exportVdi = async (xapi, host, url, response) => {
  const source = begin(xapi, host, url, response, 'get_export_raw_vdi');
  if (!source) return;
  const { vdi, format } = source;
  const task = url.searchParams.get('task_id');
  const { uuid, virtual_size: size } = xapi.db.get('VDI', vdi);
  if (attached(xapi, vdi, 'RW')) return refuse(xapi, url, response, new XapiFailure('VDI_IN_USE', vdi, 'export'));
  response.writeHead(200, {
    'content-type': format === 'vhd' ? 'application/vhd' : 'application/octet-stream',
    'content-disposition': `attachment; filename="${uuid}.${format}"`,
    connection: 'close',
  });
  try {
    await xapi.faults.before('GET /export_raw_vdi', [vdi]);
    await pipeline(Readable.from(xapi.disks.read(uuid, format, size)), response);
    if (task) xapi.tasks.succeed(task, 'void', '');
  } catch (error) {
    if (task) xapi.tasks.fail(task, new XapiFailure('VDI_IO_ERROR', error.message));
    response.destroy();
  }
};

/** POST /services/xenops: another pool's member hands over a VM. */
export const receive = async (xapi, host, url, request, response) => {
  const session = authorize(xapi, url, 'services/xenops', 'vm-power-admin');
  const parts = [];
  for await (const part of request) parts.push(part);
  const answer = (status, body) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  try {
    const context = { xapi, db: xapi.db, session, host, task: '', signal: new AbortController().signal };
    answer(200, { vm: await receiveVm(context, JSON.parse(Buffer.concat(parts).toString())) });
  } catch (error) {
    answer(500, { error: XapiFailure.of(error).description });
  }
};
