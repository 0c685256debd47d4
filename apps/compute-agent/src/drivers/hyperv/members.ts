import { HypervisorError } from '../hypervisor-driver.js';
import { VmHost } from './host-facts.js';
import type { HyperVNode, ReadyNode } from './node.js';

export interface MemberTimes {
  /** Milliseconds that the others are waited for once one member has answered. */
  readonly patience: number;
  /** Milliseconds until a member that did not answer is looked at again. */
  readonly lookAgain: number;
  /** Milliseconds that the cluster may have a guest on no member while it moves it. */
  readonly movesWithin: number;
}
const TIMES: MemberTimes = { patience: 10_000, lookAgain: 5_000, movesWithin: 30_000 };

export interface Answers<T> {
  readonly told: readonly T[];
  /** Members that do not answer now: what is on them is not known. */
  readonly silent: readonly HyperVNode[];
}

/** What a set of questions came to: those still open some time after the first answer count as failed. */
export const settledSoon = <T>(questions: readonly Promise<T>[], patience = TIMES.patience) =>
  new Promise<readonly PromiseSettledResult<T>[]>((resolve) => {
    const late: PromiseRejectedResult = {
      status: 'rejected',
      reason: new HypervisorError('unavailable', 'the Hyper-V host does not answer', 'no answer while others gave one'),
    };
    const results: PromiseSettledResult<T>[] = questions.map(() => late);
    let open = questions.length;
    let limit: NodeJS.Timeout | undefined;
    const done = () => {
      clearTimeout(limit);
      resolve([...results]);
    };
    if (open === 0) done();
    for (const [i, question] of questions.entries())
      void question
        .then(
          (value) => {
            results[i] = { status: 'fulfilled', value };
            limit ??= setTimeout(done, patience).unref();
          },
          (reason: unknown) => {
            results[i] = { status: 'rejected', reason };
          },
        )
        .finally(() => {
          open -= 1;
          if (open === 0) done();
        });
  });

/**
 * The hosts that are one host of the cloud: a single one, or the members of a failover cluster. A member that does not
 * answer holds the others' answers up for a moment only; it is looked at again beside them until it answers.
 */
export class Members {
  private readonly silent = new Map<HyperVNode, { looking: boolean; at: number }>();

  constructor(
    readonly nodes: readonly HyperVNode[],
    readonly times = TIMES,
  ) {}

  get areCluster(): boolean {
    return this.nodes.length > 1;
  }

  /**
   * Asks all.
   * @throws HypervisorError what the first failed with, when none answers
   */
  async ask<T>(question: (on: ReadyNode) => Promise<T>): Promise<Answers<T>> {
    const [only] = this.nodes;
    if (!this.areCluster) return { told: only ? [await question(await only.ready())] : [], silent: [] };
    const heard = this.nodes.filter((node) => this.isHeard(node));
    let { told, failure } = await this.putTo(heard, question);
    if (told.length === 0) {
      const others = await this.putTo(
        this.nodes.filter((node) => !heard.includes(node)),
        question,
      );
      if (others.told.length === 0) throw failure ?? others.failure;
      told = others.told;
    }
    return { told, silent: this.nodes.filter((node) => this.silent.has(node)) };
  }

  /** Asks one. @returns null when it is a member that does not answer now */
  async askOne<T>(node: HyperVNode, question: (on: ReadyNode) => Promise<T>): Promise<{ readonly told: T } | null> {
    if (!this.areCluster) return { told: await question(await node.ready()) };
    if (!this.isHeard(node)) return null;
    const { told } = await this.putTo([node], question);
    return told.length > 0 ? { told: told[0]! } : null;
  }

  /** Resolves as soon as one answers. */
  check(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.ask(async ({ host }) => {
        await host.get('Get-VMHost', {}, VmHost);
        resolve();
      }).then(() => resolve(), reject);
    });
  }

  /** A member whose service has stopped is as good as one that does not answer: its guests go to others. */
  private async putTo<T>(nodes: readonly HyperVNode[], question: (on: ReadyNode) => Promise<T>) {
    const results = await settledSoon(
      nodes.map(async (node) => question(await node.ready())),
      this.times.patience,
    );
    const told: T[] = [];
    let failure: HypervisorError | undefined;
    for (const [i, result] of results.entries()) {
      if (result.status === 'fulfilled') told.push(result.value);
      else if (!(result.reason instanceof HypervisorError)) throw result.reason;
      else {
        failure ??= result.reason;
        this.silent.set(nodes[i]!, { looking: false, at: Date.now() });
      }
    }
    return { told, failure };
  }

  private isHeard(node: HyperVNode): boolean {
    const silence = this.silent.get(node);
    if (!silence) return true;
    if (!silence.looking && Date.now() - silence.at >= this.times.lookAgain) {
      silence.looking = true;
      void this.lookAgain(node);
    }
    return false;
  }

  private async lookAgain(node: HyperVNode): Promise<void> {
    try {
      const { host } = await node.ready();
      await host.get('Get-VMHost', {}, VmHost);
      this.silent.delete(node);
    } catch {
      // Still silent: that is what it was taken for.
      this.silent.set(node, { looking: false, at: Date.now() });
    }
  }
}
