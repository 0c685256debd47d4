import type { ServerId } from '@omnivisor/contracts';
import { placeOf } from './fake-devices.js';
import type { Letter } from './fake-guest.js';
import type { FakeHypervisor } from './fake-hypervisor.js';

/** What a test does inside a fake guest: letters on its disks, in the order in which a firmware would count them. */
export class InsideFakeGuest {
  constructor(private readonly machine: FakeHypervisor) {}

  remember(id: ServerId, letter: Letter): void {
    this.machine.change(id, { memory: letter });
  }

  recall(id: ServerId): Letter {
    return this.machine.guest(id)!.memory;
  }

  write(id: ServerId, disk: number, letter: Letter): void {
    this.disks(id)[disk]?.write(letter);
  }

  read(id: ServerId, disk: number): Letter {
    return this.disks(id)[disk]?.letter ?? '!';
  }

  private disks(id: ServerId): { letter: Letter; write(letter: Letter): void }[] {
    const guest = this.machine.guest(id)!;
    const rescue = { letter: guest.rescue!, write: (letter: Letter) => this.machine.change(id, { rescue: letter }) };
    const root = {
      letter: guest.disks.root,
      write: (letter: Letter) =>
        this.machine.change(id, { disks: { ...guest.disks, root: letter }, writes: guest.writes + 1 }),
    };
    const attached = guest.attached.map((disk) => {
      const volume = this.machine.volumes.get(placeOf(disk))!;
      const write = (letter: Letter) => void this.machine.volumes.set(placeOf(disk), { ...volume, letter });
      return { letter: volume.letter, write: disk.readOnly ? () => {} : write };
    });
    return [...(guest.rescue === null ? [] : [rescue]), root, ...attached];
  }
}
