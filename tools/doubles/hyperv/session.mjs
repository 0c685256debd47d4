import { createInterface } from 'node:readline';
import { LiveObject, moduleTable } from './binder.mjs';
import { ErrorRecord } from './errors.mjs';
import { FUNCTIONS, runFunction } from './functions.mjs';
import { ENABLED_STATE } from './host.mjs';
import { propertiesOf, refuseUndocumented } from './objects.mjs';

/** One run of the host script: the same lines in and out. */
export class Session {
  /** @param {import('./host.mjs').HyperVHost} host @param {NodeJS.ReadableStream} input @param {NodeJS.WritableStream} output */
  constructor(host, input, output) {
    this.host = host;
    this.output = output;
    this.consoles = new Map();
    this.transfer = new AbortController();
    this.cancelled = null;
    this.current = Promise.resolve();
    this.onVm = (id, state) => this.send({ event: 'vm', vmId: id, enabledState: ENABLED_STATE[state] });
    const { facts } = host;
    const old = facts.build < 14393;
    this.send({
      hello: {
        protocol: 3,
        powershell: facts.powershell,
        build: facts.build,
        product: facts.product,
        languageMode: old ? 'unknown' : (facts.languageMode ?? 'FullLanguage'),
      },
    });
    if (old) {
      output.end();
      return;
    }
    const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
    lines.on('line', (line) => this.receive(line));
    lines.once('close', () => this.end());
    // readline passes on what its input fails with: whoever is at the other end may go while an answer is written.
    lines.on('error', () => lines.close());
  }

  send(object) {
    if (this.output.writable) this.output.write(`${JSON.stringify(object)}\n`);
  }

  receive(line) {
    const request = JSON.parse(line);
    if (request.cancel !== undefined) {
      this.cancelled = request.cancel;
      return this.transfer.abort();
    }
    this.current = this.current.then(() => {
      const answered = this.answer(request).finally(() => this.host.changing.delete(answered));
      if (!/^(Get|Wait|Measure)-/.test(request.cmdlet)) this.host.changing.add(answered);
      return answered;
    });
  }

  async answer({ id, ...call }) {
    // A host that does not answer keeps the agent waiting.
    if (this.host.unreachable) return;
    try {
      this.transfer = new AbortController();
      if (this.cancelled === id) this.transfer.abort();
      const found = await this.invoke(call);
      this.send({ id, ok: true, result: found.map((object) => this.plain(object, call.select)) });
    } catch (error) {
      if (!(error instanceof ErrorRecord)) console.error(error);
      const record =
        error instanceof ErrorRecord
          ? error.toJSON(call.cmdlet, this.host.facts.language)
          : {
              fullyQualifiedErrorId: 'Double',
              category: 'NotImplemented',
              message: error.message,
              exception: 'Double',
            };
      this.send({ id, ok: false, error: record });
    }
  }

  async invoke({ cmdlet, parameters = {}, objects = {}, where }) {
    const given = { ...parameters };
    for (const [name, call] of Object.entries(objects)) {
      const found = await this.invoke(call);
      if (found.length === 0)
        throw new ErrorRecord({
          id: 'ObjectNotFound,Omnivisor.Host',
          category: 'ObjectNotFound',
          message: 'The object that a parameter names is not there.',
          exception: 'System.InvalidOperationException',
        });
      given[name] = found.length === 1 ? found[0] : found;
    }
    const found = await this.run(cmdlet, given).catch((error) => {
      throw error instanceof ErrorRecord ? error.of(cmdlet) : error;
    });
    if (!where) return found;
    return found.filter((object) => {
      refuseUndocumented(object, Object.keys(where));
      const properties = propertiesOf(object, this.host.facts);
      return Object.entries(where).every(
        ([name, value]) => String(properties[name]).toLowerCase() === String(value).toLowerCase(),
      );
    });
  }

  async run(cmdlet, given) {
    if (moduleTable.cmdlets[cmdlet]) return this.host.run(cmdlet, given);
    if (FUNCTIONS.includes(cmdlet)) return runFunction(cmdlet, this.host, this, given);
    throw new ErrorRecord({
      id: 'NotAllowed,Omnivisor.Host',
      category: 'PermissionDenied',
      message: 'The host script does not run this command.',
      exception: 'System.InvalidOperationException',
    });
  }

  plain(value, select) {
    if (value === null || value === undefined || typeof value !== 'object') return value ?? null;
    if (Array.isArray(value)) return value.map((one) => this.plain(one, select));
    const names = Object.keys(select && typeof select === 'object' ? select : {});
    if (value instanceof LiveObject) refuseUndocumented(value, names);
    const properties = propertiesOf(value, this.host.facts);
    return Object.fromEntries(names.map((name) => [name, this.plain(properties[name], select[name])]));
  }

  watch() {
    this.host.off('vm', this.onVm);
    this.host.on('vm', this.onVm);
  }

  end() {
    this.host.off('vm', this.onVm);
    this.transfer.abort();
    for (const socket of this.consoles.values()) socket.destroy();
    if (this.output.writable) this.output.end();
  }
}
