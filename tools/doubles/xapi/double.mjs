import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { guestSpec, markStopped, reportGuest } from './classes/domain.mjs';
import { isOpen } from './classes/vif.mjs';
import { guestStopped } from './classes/vm-lifecycle.mjs';
import { allowedOperations } from './classes/vm-rules.mjs';
import { QemuGuests } from './guests/qemu-guests.mjs';
import { RecordGuests } from './guests/record-guests.mjs';
import { MemberServer } from './http/server.mjs';
import { Database } from './model/database.mjs';
import { Events } from './model/events.mjs';
import { XapiFailure } from './model/failure.mjs';
import { Faults } from './model/faults.mjs';
import { Schema } from './model/schema.mjs';
import { Sessions } from './model/sessions.mjs';
import { Tasks } from './model/tasks.mjs';
import { derivedFields, makeWorld } from './model/world.mjs';
import { Xapi } from './model/xapi.mjs';
import { settingsFrom } from './options.mjs';
import { Disks } from './storage/disks.mjs';

/** A pool that speaks XAPI, and what a test does to it behind its clients' backs. */
export class XapiDouble {
  /** @param {Partial<import('./options.mjs').Settings> & { stateDir: string }} options */
  static async start(options) {
    const double = new XapiDouble(settingsFrom(options));
    await double.#adoptGuests();
    await double.#listen();
    return double;
  }

  constructor(settings) {
    this.settings = settings;
    mkdirSync(settings.stateDir, { recursive: true });
    const schema = new Schema(settings.release);
    const database = new Database(schema);
    const disks = new Disks(join(settings.stateDir, 'vdi'));
    const sessions = new Sessions(database, settings.users);
    const stopped = (uuid, how) => void this.#guestStopped(uuid, how);
    const guests =
      settings.guests === 'qemu'
        ? new QemuGuests(stopped, { folder: join(settings.stateDir, 'run') })
        : new RecordGuests(stopped, settings.guestsEnd);
    database.derived = derivedFields(database, allowedOperations, (uuid) => usedBytes(disks.path(uuid)));
    const events = new Events(database, sessions);
    const parts = { schema, database, disks, sessions, guests, events, settings };
    this.xapi = new Xapi({ ...parts, tasks: new Tasks(database), faults: new Faults() });
    this.xapi.changeMaster = (host) => this.changeMaster(host);
    this.db = database;
    this.guests = guests;
    this.faults = this.xapi.faults;
    this.saving = Promise.resolve();
    const saved = readSaved(join(settings.stateDir, 'db.json'));
    if (saved) database.load(saved);
    else makeWorld(database, settings);
    /** @type {Map<string, MemberServer>} */
    this.members = new Map(
      database.refs('host').map((host) => [host, new MemberServer(this.xapi, host, () => this.#saveIfDurable())]),
    );
  }

  /** Where clients reach the pool's master, or one of its members. @param {number} [n] */
  url(n = 0) {
    const { scheme, port } = this.settings;
    return `${scheme}://${this.settings.addresses[n]}:${port}`;
  }

  /** @param {number} n @returns {string} the member's reference */
  host(n) {
    return [...this.members.keys()][n];
  }

  /** @param {string} uuid @returns {string} the VM's reference */
  vm(uuid) {
    const found = this.db.all('VM').find(([, record]) => record.uuid === uuid);
    if (!found) throw new Error(`there is no VM ${uuid}`);
    return found[0];
  }

  /** @param {number} n @param {null | 'refuse' | 'silence'} how `null` mends it */
  cutMember(n, how) {
    this.members.get(this.host(n)).setCut(how);
  }

  /**
   * Another member becomes the master; the tool stacks start anew, so sessions and tasks are gone.
   * @param {{ behind?: number }} [how] changes that it has not counted: its copy of the database was older
   */
  changeMaster(host, { behind = 0 } = {}) {
    this.db.countBack(behind);
    this.db.set('pool', this.db.refs('pool')[0], { master: host });
    this.restartToolstack();
  }

  restartToolstack() {
    this.xapi.tasks.abandonAll();
    this.xapi.sessions.expireAll();
    this.db.forgetVolatile();
    for (const member of this.members.values()) member.drop();
  }

  /** As high availability or an administrator does it: no client of ours asked. */
  moveVm(uuid, n) {
    const vm = this.vm(uuid);
    this.db.set('VM', vm, { resident_on: this.host(n), domid: this.xapi.nextDomainId() });
  }

  /** As if something inside the guest did it: records only. @param {string} uuid @param {'shutdown' | 'reboot' | 'crash'} how */
  stopFromInside(uuid, how) {
    this.#record().stopFromInside(uuid, how);
  }

  /** From now until it is started anew: records only. @param {string} uuid */
  ignorePowerButton(uuid) {
    this.#record().ignorePowerButton(uuid);
  }

  /** Whether anything passes an interface. @param {string} vif its reference */
  isOpen(vif) {
    return isOpen(this.db, vif);
  }

  /** What a real guest wrote to its first serial port; XAPI has no such call. @param {string} uuid */
  serialLog(uuid) {
    if (!(this.guests instanceof QemuGuests)) throw new Error('records write nothing');
    return this.guests.serialLog(uuid);
  }

  /** @param {string} uuid @param {Record<string, unknown>} facts fields of VM_guest_metrics */
  reportGuest(uuid, facts) {
    reportGuest(this.db, this.vm(uuid), facts);
  }

  /** @param {{ endGuests?: boolean }} [how] guests go on unless they are to end */
  async stop({ endGuests = false } = {}) {
    this.xapi.events.close(new XapiFailure('HOST_STILL_BOOTING'));
    this.xapi.tasks.abandonAll();
    for (const member of this.members.values()) await member.close();
    await this.xapi.settled();
    await this.guests.close(endGuests);
    await this.save();
  }

  /** Writes what has changed; the file is there whole or not at all. */
  save() {
    this.saving = this.saving.then(async () => {
      if (!this.db.dirty) return;
      this.db.dirty = false;
      const path = join(this.settings.stateDir, 'db.json');
      await writeFile(`${path}.new`, JSON.stringify({ ...this.db.toJSON(), port: this.settings.port }));
      await rename(`${path}.new`, path);
    });
    return this.saving;
  }

  #record() {
    if (!(this.guests instanceof RecordGuests)) throw new Error('a real guest does what it wants');
    return this.guests;
  }

  async #saveIfDurable() {
    if (this.settings.durable) await this.save();
  }

  /** After a restart: guests that still run are taken up, the others have stopped meanwhile. */
  async #adoptGuests() {
    for (const [vm, record] of this.db.all('VM')) {
      this.db.set('VM', vm, { current_operations: {} });
      if (record.is_control_domain || !['Running', 'Paused'].includes(record.power_state)) continue;
      const alive = await this.guests.adopt(
        guestSpec({ db: this.db, xapi: this.xapi }, vm),
        record.power_state === 'Paused',
      );
      if (!alive) markStopped({ db: this.db }, vm, 'Halted');
    }
  }

  async #guestStopped(uuid, how) {
    const found = this.db.all('VM').find(([, record]) => record.uuid === uuid);
    if (found) await guestStopped({ db: this.db, xapi: this.xapi }, found[0], how);
    await this.#saveIfDurable();
  }

  /** All members listen on one port, as XAPI's clients expect; a free one is found on the first address. */
  async #listen() {
    const hosts = [...this.members.keys()];
    for (let tries = 0; ; tries++) {
      const open = [];
      try {
        let { port } = this.settings;
        for (const host of hosts) {
          const member = this.members.get(host);
          port = await member.listen(port, this.db.get('host', host).address);
          open.push(member);
        }
        this.settings.port = port;
        return;
      } catch (error) {
        for (const member of open) await member.close();
        if (error.code !== 'EADDRINUSE' || this.settings.port !== 0 || tries > 20) throw error;
        this.members = new Map(
          hosts.map((host) => [host, new MemberServer(this.xapi, host, () => this.#saveIfDurable())]),
        );
      }
    }
  }
}

const usedBytes = (path) => {
  try {
    return statSync(path).blocks * 512;
  } catch {
    return 0;
  }
};

const readSaved = (path) => {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw error;
  }
};
