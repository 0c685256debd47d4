import { type CommandContext, type CommandId, type RequestId, type SealingEvent, seconds } from '@omnivisor/contracts';
import { type Leadership, LOG_APPENDED, streamOf } from '@omnivisor/eventsourcing';
import {
  type NoteSigner,
  type NoteVerifier,
  newSeed,
  parseVerifier,
  Sealer,
  type SealStore,
  signerOf,
  signNote,
  type VerifyReport,
  verifyLog,
} from '@omnivisor/eventsourcing/seal';
import type { Vault } from '@omnivisor/eventsourcing/vault';
import type { GatewayCore } from '../../core/gateway-core.js';
import { CheckpointOutlet, type CheckpointPlace } from './checkpoint-outlet.js';
import type { LogVerifier } from './log-verifier.js';
import { isOld, SEALING_KEYS, sealingKeys } from './sealing-keys.js';

export interface EvidencePorts {
  readonly seals: SealStore;
  /** Which replica seals. */
  readonly leadership: Leadership;
  /** Name of the log in its checkpoints; no spaces, no plus. */
  readonly origin: string;
  /** Days after which a new key signs. */
  readonly keyDays: number;
  readonly places: readonly CheckpointPlace[];
  /** Who compares the whole log with its seals; this thread, when nobody is named. */
  readonly verifier?: LogVerifier;
}

/** The net below lost wake-ups. */
const POLL = seconds(10);

/** Makes the log evidence: has one replica seal it, keeps the keys, sends checkpoints where nobody here reaches. */
export class Evidence {
  readonly outlets: readonly CheckpointOutlet[];
  private sealer: Sealer | undefined;
  private signers: { readonly newest: string; readonly all: readonly NoteSigner[] } | undefined;
  private readonly stops: (() => unknown)[] = [];
  private cancelPoll = () => {};

  constructor(
    private readonly core: GatewayCore,
    private readonly vault: Vault,
    private readonly ports: EvidencePorts,
    private readonly onError: (where: string, error: unknown) => void,
  ) {
    this.outlets = ports.places.map((place) => new CheckpointOutlet(place, core.clock, onError));
  }

  get seals(): SealStore {
    return this.ports.seals;
  }

  /** Why sealing stopped for good; null while it goes on. */
  get failure(): string | null {
    return this.sealer?.failure?.message ?? null;
  }

  async start(): Promise<void> {
    const { bus, store } = this.core;
    const appended = await bus.subscribe(LOG_APPENDED, (message) => {
      const position = (message as { position?: unknown } | null)?.position;
      this.sealer?.wake(typeof position === 'number' ? position : 0);
    });
    this.stops.push(
      () => appended.close(),
      store.subscribe((position) => this.sealer?.wake(position)),
    );
    this.poll();
    this.ports.leadership.campaign(
      () => this.lead(),
      () => this.follow(),
    );
  }

  async stop(): Promise<void> {
    this.cancelPoll();
    for (const stop of this.stops) await stop();
    await this.ports.leadership.stop();
    for (const outlet of this.outlets) await outlet.stop();
    await this.seals.close();
  }

  /** Keys that sign or signed, the newest first. */
  async keys(): Promise<NoteVerifier[]> {
    return (await this.added()).map(({ data }) => parseVerifier(data.publicKey));
  }

  /** Lets a new key sign from now on. @returns it, or the one that another replica added at the same time */
  async rotate(context: CommandContext = this.context()): Promise<NoteVerifier> {
    const [newest] = await this.added();
    const seed = newSeed();
    const secret = await this.vault.put('sealing-key', seed);
    const key = { publicKey: signerOf(this.ports.origin, seed).verifier.text, secret };
    const after = newest?.data.publicKey ?? null;
    const { state } = await this.core.commands.execute(sealingKeys, SEALING_KEYS, { key, after }, context);
    if (state.newest !== key.publicKey) await this.vault.erase(secret);
    return parseVerifier(state.newest!);
  }

  /** Compares the whole log with its seals. @param outside checkpoints that had left the box, as notes */
  verify(keys: readonly NoteVerifier[], outside: readonly string[]): Promise<VerifyReport> {
    const { verifier, seals } = this.ports;
    return verifier ? verifier(keys, outside) : verifyLog({ store: this.core.store, seals, keys }, outside);
  }

  /** A signed note by the keys that sign checkpoints. @param text ends with a line break, and is no checkpoint */
  async sign(text: string): Promise<string> {
    return signNote(text, await this.currentSigners());
  }

  private async lead(): Promise<void> {
    this.sealer = new Sealer({
      store: this.core.store,
      seals: this.seals,
      origin: this.ports.origin,
      clock: this.core.clock,
      signers: () => this.currentSigners(),
      sealed: (checkpoint) => {
        for (const outlet of this.outlets) outlet.send(checkpoint);
      },
      onError: (error) => this.onError('sealing the log', error),
    });
    this.sealer.start();
  }

  private async follow(): Promise<void> {
    await this.sealer?.stop();
    this.sealer = undefined;
  }

  /** The newest key and the one before it, so that whoever knows either can go on to the other. */
  private async currentSigners(): Promise<readonly NoteSigner[]> {
    let keys = await this.added();
    if (!keys[0] || isOld(keys[0].recordedAt, this.core.clock.now(), this.ports.keyDays)) {
      await this.rotate();
      keys = await this.added();
    }
    const newest = keys[0]!.data.publicKey;
    if (this.signers?.newest !== newest) {
      const seeds = await Promise.all(keys.slice(0, 2).map(({ data }) => this.vault.get(data.secret)));
      this.signers = { newest, all: seeds.map((seed) => signerOf(this.ports.origin, seed)) };
    }
    return this.signers.all;
  }

  /** Events of keys, the newest first. */
  private async added() {
    const events = await this.core.store.readStream(streamOf(sealingKeys.events, SEALING_KEYS));
    return events.reverse().map(({ data, recordedAt }) => ({ data: data as SealingEvent['data'], recordedAt }));
  }

  private poll(): void {
    this.cancelPoll = this.core.clock.after(POLL, () => {
      this.sealer?.wake(0);
      this.poll();
    });
  }

  private context(): CommandContext {
    const id = this.core.ids.uuid();
    const requestId = `req-${id}` as RequestId;
    return {
      actor: { kind: 'service', service: 'api-gateway' },
      requestId,
      correlationId: requestId,
      causationId: null,
      commandId: `sealing-key/${id}` as CommandId,
    };
  }
}
