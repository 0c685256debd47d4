import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { XapiDouble } from '../double.mjs';

// biome-ignore lint/suspicious/noExplicitAny: an answer has the shape that its call says; the specs look at it.
export type Answer = any;

/** An answer that was a failure: the code and its parameters. */
export class Refused extends Error {
  constructor(readonly description: readonly string[]) {
    super(description.join(' '));
  }
}

/** A pool for specs in a folder of its own, and a client that speaks JSON-RPC to it by hand. */
export class TestPool {
  session = '';

  /** @param login false where this client cannot: it knows no TLS */
  static async start(options: Record<string, unknown> = {}, login = true): Promise<TestPool> {
    const folder = mkdtempSync(join(tmpdir(), 'xapi-'));
    const pool = new TestPool(await XapiDouble.start({ stateDir: folder, ...options }), folder);
    if (login) pool.session = await pool.login();
    return pool;
  }

  private constructor(
    readonly double: XapiDouble,
    readonly folder: string,
  ) {}

  /** With every parameter, the session's as well. */
  async raw<T = Answer>(method: string, params: readonly unknown[], member = 0): Promise<T> {
    const response = await fetch(`${this.double.url(member)}/jsonrpc`, {
      method: 'POST',
      body: JSON.stringify({ jsonrpc: '2.0', id: 7, method, params }),
    });
    const { result, error, id } = (await response.json()) as {
      result: T;
      error?: { code: number; message: string; data: string[] };
      id: number;
    };
    if (id !== 7) throw new Error(`an answer to another call: ${id}`);
    if (error) throw new Refused([error.message, ...error.data]);
    return result;
  }

  call<T = Answer>(method: string, ...params: unknown[]): Promise<T> {
    return this.raw(method, [this.session, ...params]);
  }

  login(name = 'root', password = 'secret', member = 0): Promise<string> {
    return this.raw('session.login_with_password', [name, password, '2.21', 'specs'], member);
  }

  /** Why a call is refused: the code and its parameters. */
  async refusal(method: string, ...params: unknown[]): Promise<readonly string[]> {
    return this.call(method, ...params).then(
      (value) => {
        throw new Error(`${method} was not refused: ${JSON.stringify(value)}`);
      },
      (error: unknown) => {
        if (error instanceof Refused) return error.description;
        throw error;
      },
    );
  }

  /** @returns the task's record when it is over */
  async settled(task: string): Promise<Answer> {
    for (let token = ''; ; ) {
      const batch = await this.call('event.from', [`task/${task}`], token, 5);
      token = batch.token;
      const record = batch.events.at(-1)?.snapshot;
      if (record && record.status !== 'pending' && record.status !== 'cancelling') return record;
    }
  }

  async one(name: string, label: string): Promise<string> {
    const [ref] = await this.call<string[]>(`${name}.get_by_name_label`, label);
    if (!ref) throw new Error(`there is no ${name} ${label}`);
    return ref;
  }

  /** Everything that has to be said of a VM; `change` overrides. */
  vmRecord(change: Record<string, unknown> = {}) {
    const memory = 256 * 2 ** 20;
    return {
      name_label: 'a machine',
      name_description: '',
      user_version: 1,
      is_a_template: false,
      affinity: 'OpaqueRef:NULL',
      memory_static_max: memory,
      memory_dynamic_max: memory,
      memory_dynamic_min: memory,
      memory_static_min: memory,
      VCPUs_params: {},
      VCPUs_max: 1,
      VCPUs_at_startup: 1,
      actions_after_shutdown: 'destroy',
      actions_after_reboot: 'restart',
      actions_after_crash: 'destroy',
      PV_bootloader: '',
      PV_kernel: '',
      PV_ramdisk: '',
      PV_args: '',
      PV_bootloader_args: '',
      PV_legacy_args: '',
      HVM_boot_policy: 'BIOS order',
      HVM_boot_params: { order: 'c' },
      platform: {},
      PCI_bus: '',
      other_config: {},
      recommendations: '',
      ...change,
    };
  }

  vm(change: Record<string, unknown> = {}): Promise<string> {
    return this.call('VM.create', this.vmRecord(change));
  }

  async vdi(
    size = 4 << 20,
    storage = 'NFS virtual disk storage',
    change: Record<string, unknown> = {},
  ): Promise<string> {
    return this.call('VDI.create', {
      SR: await this.one('SR', storage),
      virtual_size: size,
      type: 'user',
      sharable: false,
      read_only: false,
      other_config: {},
      ...change,
    });
  }

  vbd(vm: string, vdi: string, change: Record<string, unknown> = {}): Promise<string> {
    return this.call('VBD.create', {
      VM: vm,
      VDI: vdi,
      userdevice: 'autodetect',
      bootable: true,
      mode: 'RW',
      type: 'Disk',
      empty: false,
      other_config: {},
      qos_algorithm_type: '',
      qos_algorithm_params: {},
      ...change,
    });
  }

  async vif(vm: string, change: Record<string, unknown> = {}): Promise<string> {
    return this.call('VIF.create', {
      VM: vm,
      network: await this.one('network', 'Pool-wide network associated with eth1'),
      device: '0',
      MAC: 'fa:16:3e:00:00:01',
      MTU: 1500,
      other_config: {},
      qos_algorithm_type: '',
      qos_algorithm_params: {},
      ...change,
    });
  }

  async stop(): Promise<void> {
    await this.double.stop({ endGuests: true });
    rmSync(this.folder, { recursive: true, force: true });
  }
}
