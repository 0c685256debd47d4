import { readFileSync, writeFileSync } from 'node:fs';
import { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * What a guest is made of.
 * @typedef {{ uuid: string, name: string, memoryMib: number, vcpus: number, disks: GuestDisk[], nics: GuestNic[] }} GuestSpec
 * @typedef {{ device: string, path: string | null, cd: boolean, readOnly: boolean, bootable: boolean }} GuestDisk
 * @typedef {{ device: string, mac: string }} GuestNic
 */

/** A console that says who it is: there is no guest behind it. */
class RecordConsole extends Duplex {
  constructor(greeting) {
    super();
    this.push(greeting);
  }
  _read() {}
  _write(_chunk, _encoding, done) {
    done();
  }
  _final(done) {
    this.push(null);
    done();
  }
}

/**
 * Guests that are records only: they start at once, follow the power button unless told otherwise, and compute nothing.
 * One interface with `QemuGuests`.
 */
export class RecordGuests {
  /**
   * @param {(uuid: string, how: 'shutdown' | 'reboot' | 'crash') => void} stopped by the guest itself
   * @param {null | 'reboot' | 'crash'} [ends] how each does as soon as it runs
   */
  constructor(stopped, ends = null) {
    this.stopped = stopped;
    this.ends = ends;
    /** `memory`: what a test let it remember. @type {Map<string, { spec: GuestSpec, paused: boolean, ignoring: boolean, memory: string }>} */
    this.guests = new Map();
  }

  /** @param {GuestSpec} spec @param {{ paused?: boolean, saved?: string }} [how] `saved`: what `save` wrote */
  async boot(spec, { paused = false, saved } = {}) {
    const image = saved ? JSON.parse(readFileSync(saved, 'utf8').replaceAll('\0', '')) : null;
    if (image && image.uuid !== spec.uuid) throw new Error('the suspend image is of another guest');
    this.guests.set(spec.uuid, { spec, paused, ignoring: false, memory: image?.memory ?? '' });
    if (!paused) this.#run(spec.uuid);
  }

  /** Takes up a guest that ran before the double was started anew. @returns {Promise<boolean>} it still runs */
  async adopt(spec, paused) {
    await this.boot(spec, { paused });
    return true;
  }

  async powerOff(uuid) {
    this.guests.delete(uuid);
  }

  /** @param {number} patience in milliseconds @param {AbortSignal} signal @returns {Promise<boolean>} it went off */
  async askToStop(uuid, patience, signal) {
    if (this.#guest(uuid).ignoring) {
      await sleep(patience, undefined, { signal }).catch(() => {});
      return false;
    }
    this.guests.delete(uuid);
    return true;
  }

  async pause(uuid) {
    this.#guest(uuid).paused = true;
  }

  async unpause(uuid) {
    this.#guest(uuid).paused = false;
    this.#run(uuid);
  }

  /** Writes the guest's memory to a file of its own, and ends it. */
  async save(uuid, path) {
    writeFileSync(path, JSON.stringify({ uuid, memory: this.#guest(uuid).memory }));
    this.guests.delete(uuid);
  }

  async plugDisk(uuid, disk) {
    this.#guest(uuid).spec.disks.push(disk);
  }

  /** @returns {Promise<boolean>} the guest let go of it */
  async unplugDisk(uuid, device) {
    const { spec } = this.#guest(uuid);
    spec.disks = spec.disks.filter((disk) => disk.device !== device);
    return true;
  }

  async changeMedium(uuid, device, path) {
    const disk = this.#guest(uuid).spec.disks.find((d) => d.device === device);
    if (disk) disk.path = path;
  }

  /** Its file has another name from now on. */
  async moveDisk(uuid, device, path) {
    return this.changeMedium(uuid, device, path);
  }

  async plugNic(uuid, nic) {
    this.#guest(uuid).spec.nics.push(nic);
  }

  async unplugNic(uuid, device) {
    const { spec } = this.#guest(uuid);
    spec.nics = spec.nics.filter((nic) => nic.device !== device);
    return true;
  }

  /** Its disks do not change while `action` runs. */
  async quiesced(_uuid, action) {
    return action();
  }

  /** @param {'rfb' | 'vt100'} protocol @returns {Promise<Duplex>} */
  async console(uuid, protocol) {
    const { name } = this.#guest(uuid).spec;
    return new RecordConsole(protocol === 'rfb' ? 'RFB 003.008\n' : `${name} is up\r\n`);
  }

  /** As if something inside the guest did it. @param {'shutdown' | 'reboot' | 'crash'} how */
  stopFromInside(uuid, how) {
    this.#guest(uuid);
    this.guests.delete(uuid);
    this.stopped(uuid, how);
  }

  ignorePowerButton(uuid) {
    this.#guest(uuid).ignoring = true;
  }

  /** Lets go of the guests; `end` ends them. */
  async close(end) {
    if (end) this.guests.clear();
  }

  /** Once who started it knows that it runs. */
  #run(uuid) {
    const { ends } = this;
    if (ends !== null) setImmediate(() => this.guests.has(uuid) && this.stopFromInside(uuid, ends));
  }

  #guest(uuid) {
    const guest = this.guests.get(uuid);
    if (!guest) throw new Error(`there is no guest ${uuid}`);
    return guest;
  }
}
