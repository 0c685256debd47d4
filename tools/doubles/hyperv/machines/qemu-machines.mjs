import { spawn } from 'node:child_process';
import { closeSync, copyFileSync, existsSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { imageKind } from '../disks/qemu-img-disks.mjs';
import { operationFailed } from '../errors.mjs';
import { Qmp } from './qmp.mjs';

const FIRMWARE = '/usr/share/OVMF';
const MIB = 1024 ** 2;
const START_LIMIT = 20_000;

/**
 * Arguments of QEMU for a machine: generation 1 is SeaBIOS and IDE; generation 2 is OVMF and SCSI, nothing legacy.
 *
 * It does not call itself Microsoft's: Linux would leave the IDE disk to Hyper-V's own bus then, which is not there.
 */
export const argumentsFor = (vm, { local, pipe, folder }) => {
  const disks = [];
  const controllers = new Set();
  vm.drives.forEach((drive, i) => {
    if (!drive.path) return;
    const file = local(drive.path);
    const isDvd = drive.kind === 'DvdDrive';
    const kind = isDvd ? 'raw' : imageKind(file);
    disks.push('-drive', `if=none,id=d${i},format=${kind},file=${file},readonly=${isDvd ? 'on' : 'off'}`);
    const boot = bootIndex(vm, drive);
    const device = `drive=d${i}${boot === null ? '' : `,bootindex=${boot}`}`;
    if (drive.type === 'IDE')
      disks.push('-device', `ide-${isDvd ? 'cd' : 'hd'},bus=ide.${drive.number},unit=${drive.location},${device}`);
    else {
      controllers.add(drive.number);
      disks.push(
        '-device',
        `scsi-${isDvd ? 'cd' : 'hd'},bus=scsi${drive.number}.0,scsi-id=${drive.location},${device}`,
      );
    }
  });
  return [
    ...['-name', vm.Name, '-uuid', vm.Id, '-nodefaults', '-no-user-config', '-display', 'none', '-vga', 'none'],
    ...platform(vm, folder),
    ...[
      '-accel',
      'tcg,thread=multi,tb-size=64',
      '-cpu',
      'max',
      '-m',
      `${vm.memory.startup / MIB}M`,
      '-smp',
      String(vm.processors),
    ],
    ...['-qmp', `unix:${pipe(`qmp-${vm.Id}`)},server=on,wait=off`, '-pidfile', join(folder, 'qemu.pid')],
    ...vm.com.flatMap((name) =>
      name ? ['-chardev', `socket,id=com,path=${pipe(name)},server=on,wait=off`, '-serial', 'chardev:com'] : [],
    ),
    ...[...controllers].flatMap((n) => ['-device', `virtio-scsi-pci,id=scsi${n}`]),
    ...disks,
    ...vm.adapters.flatMap((adapter, i) => [
      ...['-netdev', `user,id=n${i},restrict=on`],
      ...['-device', `virtio-net-pci,netdev=n${i},romfile=,mac=${adapter.mac.match(/../g).join(':')}`],
    ]),
  ];
};

const bootIndex = (vm, drive) => {
  if (vm.Generation === 1) {
    const at = vm.bios.order.indexOf(drive.kind === 'DvdDrive' ? 'CD' : 'IDE');
    return drive.type === 'IDE' ? at * 4 + drive.number * 2 + drive.location : null;
  }
  const at = vm.firmware.order.indexOf(drive.id);
  return at < 0 ? null : at;
};

const platform = (vm, folder) => {
  if (vm.Generation === 1) return ['-machine', 'pc'];
  const secure = vm.firmware.secureBoot === 'On';
  const variables = join(folder, 'firmware.vars');
  if (!existsSync(variables)) copyFileSync(`${FIRMWARE}/OVMF_VARS_4M${secure ? '.ms' : ''}.fd`, variables);
  return [
    ...['-machine', `q35,sata=off,usb=off${secure ? ',smm=on' : ''}`],
    ...(secure ? ['-global', 'driver=cfi.pflash01,property=secure,value=on'] : []),
    ...['-drive', `if=pflash,format=raw,unit=0,readonly=on,file=${FIRMWARE}/OVMF_CODE_4M${secure ? '.ms' : ''}.fd`],
    ...['-drive', `if=pflash,format=raw,unit=1,file=${variables}`],
  ];
};

/** Guests that really run. They outlive the double, as guests of Hyper-V outlive whoever manages them. */
export class QemuMachines {
  outliveTheDouble = true;

  constructor(host) {
    this.host = host;
    this.running = new Map();
    this.stopping = new Set();
  }

  start(vm) {
    return this.launch(vm, []);
  }
  async stop(vm) {
    const qmp = this.running.get(vm.Id);
    if (!qmp) return;
    this.stopping.add(vm.Id);
    const gone = new Promise((resolve) => qmp.onClose(resolve));
    qmp.run('quit').catch(() => undefined);
    await gone;
    this.stopping.delete(vm.Id);
  }
  async pause(vm) {
    await this.running.get(vm.Id).run('stop');
  }
  async resume(vm) {
    await this.running.get(vm.Id).run('cont');
  }
  async requestShutdown(vm) {
    await this.running.get(vm.Id).run('system_powerdown');
  }
  async nmi(vm) {
    await this.running.get(vm.Id).run('inject-nmi');
  }
  async disksChanged(vm) {
    if (vm.State !== 'Off')
      throw operationFailed('The double changes the disks of a guest that runs in QEMU only while it is off.');
  }
  async save(vm) {
    const qmp = this.running.get(vm.Id);
    await qmp.run('stop');
    await qmp.run('migrate', { uri: `exec:cat > ${this.memoryFile(vm)}` });
    for (;;) {
      const { status, 'error-desc': reason } = await qmp.run('query-migrate');
      if (status === 'completed') break;
      if (status === 'failed') throw operationFailed(`saving failed: ${reason}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await this.stop(vm);
  }
  async restore(vm) {
    await this.launch(vm, ['-incoming', `exec:cat ${this.memoryFile(vm)}`]);
    rmSync(this.memoryFile(vm));
  }
  async attach(vm) {
    if (vm.State !== 'Running' && vm.State !== 'Paused') return;
    try {
      await this.connect(vm);
    } catch {
      vm.State = 'Off';
      vm.startedAt = null;
    }
  }
  /** Lets go of them. */
  async close() {
    for (const [id, qmp] of this.running) {
      this.stopping.add(id);
      qmp.close();
    }
  }

  folder(vm) {
    const folder = join(this.host.state.dir, 'machines', vm.Id);
    mkdirSync(folder, { recursive: true });
    return folder;
  }
  memoryFile(vm) {
    return join(this.folder(vm), 'memory');
  }

  async launch(vm, more) {
    const folder = this.folder(vm);
    const log = openSync(join(folder, 'qemu.log'), 'w');
    const pipe = (name) => this.host.pipe(name);
    const args = [...argumentsFor(vm, { local: (path) => this.host.local(path), pipe, folder }), ...more];
    const child = spawn('qemu-system-x86_64', args, { detached: true, stdio: ['ignore', log, log] });
    closeSync(log);
    child.unref();
    const failed = new Promise((_, reject) => {
      child.once('error', reject);
      child.once('exit', () =>
        reject(
          operationFailed(`'${vm.Name}' failed to start. ${readFileSync(join(folder, 'qemu.log'), 'utf8').trim()}`),
        ),
      );
    });
    failed.catch(() => undefined);
    await Promise.race([this.connectWhenUp(vm), failed]);
  }

  async connectWhenUp(vm) {
    const deadline = Date.now() + START_LIMIT;
    for (;;) {
      try {
        return await this.connect(vm);
      } catch (error) {
        if (Date.now() > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }

  async connect(vm) {
    const qmp = await Qmp.connect(this.host.pipe(`qmp-${vm.Id}`));
    this.running.set(vm.Id, qmp);
    qmp.onClose(() => {
      this.running.delete(vm.Id);
      if (!this.stopping.has(vm.Id)) void this.host.guestShutsDown(vm.Id);
    });
  }
}
