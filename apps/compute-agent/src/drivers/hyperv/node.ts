import { ConsoleRelay } from './console-relay.js';
import type { OpenProcess } from './host-channel.js';
import { HostConnection } from './host-connection.js';
import { HostFact, MIGRATION_SERVICE } from './host-facts.js';
import { MarkFiles } from './mark-files.js';
import { Adapters } from './operations/adapters.js';
import { HostDisks } from './operations/disks.js';
import { HostFiles } from './operations/files.js';
import { Machines } from './operations/machines.js';
import { Paths } from './paths.js';

export interface NodeOptions {
  /** As the configuration names it. */
  readonly name: string;
  readonly open: OpenProcess;
  /** Hosts that it may send guests to, where the directory does not tell it. */
  readonly delegatesTo?: readonly string[];
  /** Where clients reach the consoles of its guests; its own name unless said. */
  readonly consoleHost?: string;
  readonly workers?: number;
  readonly answerTimeout?: number;
  /** Milliseconds that disks may be merged after a checkpoint before a change of them is refused. */
  readonly mergesWithin?: number;
}

/** Everything on one host, once its script has answered. */
export interface ReadyNode {
  readonly node: HyperVNode;
  readonly host: HostConnection;
  readonly facts: HostFact;
  readonly paths: Paths;
  readonly machines: Machines;
  readonly disks: HostDisks;
  readonly files: HostFiles;
  readonly adapters: Adapters;
  readonly marks: MarkFiles;
}

/** One Hyper-V host: of its own, or a member of a failover cluster. */
export class HyperVNode {
  readonly host: HostConnection;
  readonly relay: ConsoleRelay;
  private opened: Promise<ReadyNode> | null = null;

  /** @param opening done before anything else is asked of the host */
  constructor(
    readonly options: NodeOptions,
    private readonly opening: (on: ReadyNode) => Promise<void> = async () => {},
  ) {
    this.host = new HostConnection(options);
    this.relay = new ConsoleRelay(this.host);
  }

  /** Asked once; a host that did not answer is asked again by the next caller. */
  ready(): Promise<ReadyNode> {
    this.opened ??= this.open().catch((error: unknown) => {
      this.opened = null;
      throw error;
    });
    return this.opened;
  }

  async facts(): Promise<HostFact> {
    return (await this.host.get('Get-HostFact', {}, HostFact))[0]!;
  }

  /** Services that it may reach in the name of whoever speaks to it; null: neither directory nor operator has told. */
  delegationOf({ DelegatesTo }: HostFact): readonly string[] | null {
    return DelegatesTo ?? this.options.delegatesTo?.map((name) => `${MIGRATION_SERVICE}/${name}`) ?? null;
  }

  close(): void {
    this.relay.close();
    this.host.close();
  }

  private async open(): Promise<ReadyNode> {
    const { host } = this;
    // An agent that died may have left calls that still go on; what they change is not looked at before.
    await host.run('Wait-HostCall', {});
    const facts = await this.facts();
    const paths = new Paths(facts.Root, facts.ComputerName);
    const files = new HostFiles(host);
    const on: ReadyNode = {
      node: this,
      host,
      facts,
      paths,
      files,
      machines: new Machines(host),
      disks: new HostDisks(host, paths),
      adapters: new Adapters(host),
      marks: new MarkFiles(files, paths),
    };
    await this.opening(on);
    return on;
  }
}
