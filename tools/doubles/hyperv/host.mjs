import { createHash } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { bind, moduleTable } from './binder.mjs';
import { checkpointCmdlets } from './cmdlets/checkpoints.mjs';
import { diskCmdlets } from './cmdlets/disks.mjs';
import { firmwareCmdlets } from './cmdlets/firmware.mjs';
import { hostCmdlets } from './cmdlets/host.mjs';
import { migrationCmdlets } from './cmdlets/migration.mjs';
import { networkCmdlets } from './cmdlets/network.mjs';
import { vmCmdlets } from './cmdlets/vm.mjs';
import { recordDisks } from './disks/record-disks.mjs';
import { accessDenied, ErrorRecord, objectNotFound } from './errors.mjs';
import { RecordMachines } from './machines/record-machines.mjs';
import { mergeLater } from './merging.mjs';
import { HostState } from './state.mjs';

const implementations = {
  ...hostCmdlets,
  ...vmCmdlets,
  ...firmwareCmdlets,
  ...diskCmdlets,
  ...networkCmdlets,
  ...checkpointCmdlets,
  ...migrationCmdlets,
};

/** WMI's EnabledState of a state; paused and saved are 9 and 6 in namespace v2. */
export const ENABLED_STATE = { Running: 2, Off: 3, Saved: 6, Paused: 9 };

/** Cmdlets that ask before they act; there is nobody to answer. */
const asks = (name, parameters) =>
  (moduleTable.cmdlets[name].asks || ['Remove-VM', 'Stop-VM', 'Debug-VM'].includes(name)) &&
  parameters.Force !== true &&
  parameters.Confirm !== false;

/**
 * A Windows host with Hyper-V, as far as its cmdlets tell of it.
 *
 * What is on it lies in a folder, so a new object over the same folder goes on with it. Emits `vm` with (id, state).
 */
export class HyperVHost extends EventEmitter {
  /**
   * @param {string} dir
   * @param {object} [options] `facts` overrides what the host is; `drive` is the folder of its drive C, where
   *   several share one; `disks` and `machines` make it boot real guests
   */
  constructor(dir, { facts = {}, drive, disks = recordDisks, machines = (host) => new RecordMachines(host) } = {}) {
    super();
    this.state = new HostState(dir, facts, drive);
    this.disks = disks;
    // Socket paths are short; folders of tests are not.
    if (!existsSync(this.facts.pipes ?? '')) this.facts.pipes = mkdtempSync(join(tmpdir(), 'hv-'));
    this.state.save();
    this.machines = machines(this);
    this.peers = new Map();
    /** Provoked by a test, cmdlet by cmdlet: what its next call fails with, how long its calls take. */
    this.failures = new Map();
    this.delays = new Map();
    /** Milliseconds that each call takes beside. */
    this.slowness = 0;
    this.unreachable = false;
    /** Calls under way that change something, whoever asked. */
    this.changing = new Set();
    /** Moves under way, machine id to job; a move takes `moveTime` milliseconds. */
    this.migrations = new Map();
    this.moveTime = 0;
    /** Merges of disks under way; one takes `mergeTime` milliseconds. */
    this.merges = new Set();
    this.mergeTime = 5;
    this.calls = [];
  }

  async open() {
    for (const vm of this.vms.values()) {
      await this.machines.attach(vm);
      mergeLater(this, vm);
    }
    return this;
  }

  get facts() {
    return this.state.host;
  }
  get vms() {
    return this.state.vms;
  }
  local(path) {
    return this.state.local(path);
  }
  remote(file) {
    return `C:\\${relative(this.state.drive, file).split('/').join('\\')}`;
  }
  get pipes() {
    return this.facts.pipes;
  }
  pipe(name) {
    return join(this.pipes, createHash('sha256').update(name.toLowerCase()).digest('hex').slice(0, 16));
  }
  save() {
    this.state.save();
  }
  changed(vm) {
    this.emit('vm', vm.Id, vm.State);
  }

  /** Runs a cmdlet of the table; @throws ErrorRecord */
  async run(name, given) {
    this.calls.push({ name, given });
    if (!this.facts.module)
      throw new ErrorRecord({
        id: 'CommandNotFoundException,Microsoft.PowerShell.Commands.GetCommandCommand',
        category: 'ObjectNotFound',
        message: `The term '${name}' is not recognized as the name of a cmdlet, function, script file, or operable program.`,
        exception: 'System.Management.Automation.CommandNotFoundException',
      });
    if (this.facts.managementService !== 'Running')
      throw objectNotFound(
        `Hyper-V encountered an error trying to access an object on computer '${this.facts.name}' because the object was not found. The object might have been deleted, or you might not have permission to perform the task. Verify that the Virtual Machine Management service on the computer is running.`,
      );
    if (!this.facts.account.isHyperVAdministrator)
      throw accessDenied(
        `You do not have the required permission to complete this task. Contact the administrator of the authorization policy for the computer '${this.facts.name}'.`,
      );
    const { set, parameters } = bind(name, given);
    const newer = Object.keys(parameters).find(
      (p) => moduleTable.cmdlets[name].parameters[p].since === 2022 && this.facts.build < 20348,
    );
    if (newer)
      throw new ErrorRecord({
        id: 'NamedParameterNotFound',
        category: 'InvalidArgument',
        message: `A parameter cannot be found that matches parameter name '${newer}'.`,
        exception: 'ParameterBindingException',
      });
    if (asks(name, parameters))
      throw new ErrorRecord({
        id: 'InvalidOperation',
        category: 'InvalidOperation',
        message: 'Windows PowerShell is in NonInteractive mode. Read and Prompt functionality is not available.',
        exception: 'System.Management.Automation.PSInvalidOperationException',
      });
    const delay = (this.delays.get(name) ?? 0) + this.slowness;
    if (delay) await new Promise((resolve) => setTimeout(resolve, delay));
    this.refuseIfProvoked(name);
    try {
      return await implementations[name](this, parameters, set);
    } finally {
      this.save();
    }
  }

  refuseIfProvoked(name) {
    const failures = this.failures.get(name);
    if (failures?.length) throw failures.shift();
  }

  /** The next call of the cmdlet, or of a function of the script, fails so. */
  failNext(name, error) {
    this.failures.set(name, [...(this.failures.get(name) ?? []), error]);
  }

  /** A guest switches itself off. */
  async guestShutsDown(id) {
    const vm = this.vms.get(id);
    if (vm?.State !== 'Running') return;
    await this.machines.stop(vm);
    vm.State = 'Off';
    vm.startedAt = null;
    this.save();
    this.changed(vm);
  }

  /** Lets go of the host; its guests go on where they can. */
  async close() {
    for (const timer of this.merges) clearTimeout(timer);
    await this.machines.close();
    this.removeAllListeners();
    const goesOn = [...this.vms.values()].some((vm) => vm.State === 'Running' || vm.State === 'Paused');
    if (!goesOn || !this.machines.outliveTheDouble) rmSync(this.pipes, { recursive: true, force: true });
  }
}

export const implemented = Object.keys(implementations);
