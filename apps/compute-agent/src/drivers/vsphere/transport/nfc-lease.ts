import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { NoConnection } from '../../common/trusted-socket.js';
import { HttpEndpoint, textOf } from './http.js';
import type { PropertyReader } from './properties.js';
import { type Answer, type AnswerObject, listOf, type Ref } from './soap.js';
import { isFault, VimFault, vimFault } from './vim-fault.js';
import type { VimSession } from './vim-session.js';

/** A lease lives for minutes, and as long as it hears that it is used. */
const KEEP_ALIVE = 30_000;
const READY_LIMIT = 120_000;
const QUIET_LIMIT = 60_000;
const TYPE = 'application/x-vnd.vmware-streamVmdk';

interface DeviceUrl {
  readonly url: URL;
  /** SHA-1 of the certificate of a member that is reached directly; empty: as the vCenter's own. */
  readonly thumbprint: string;
  readonly file: string;
  /** VM, controller and unit: `/vm-1/ParaVirtualSCSIController0:0`. */
  readonly key: string;
  readonly isDisk: boolean;
}

/** Disks of one VM or snapshot that come or go as streams. The member that has them is reached directly. */
export class NfcLease {
  private constructor(
    private readonly session: VimSession,
    private readonly ref: Ref,
    /** The VM or snapshot that the disks are of. */
    readonly entity: Ref,
    readonly urls: readonly DeviceUrl[],
  ) {}

  /** @throws VimFault when the vCenter does not open it */
  static async open(session: VimSession, read: PropertyReader, ref: Ref, signal?: AbortSignal): Promise<NfcLease> {
    const late = Date.now() + READY_LIMIT;
    for (let wait = 5; ; wait = Math.min(2 * wait, 1_000)) {
      const { state, info, error } = await read.of(ref, ['state', 'info', 'error']);
      if (state === 'ready') {
        const { entity, deviceUrl } = info as AnswerObject;
        const urls = listOf(deviceUrl).map((each) => urlOf(each as AnswerObject, session.url));
        return new NfcLease(session, ref, entity as Ref, urls);
      }
      if (state === 'error') throw leaseFault(error);
      if (signal?.aborted || Date.now() > late) {
        await session.call(ref, 'HttpNfcLeaseAbort').catch(() => undefined);
        throw new VimFault(signal?.aborted ? 'RequestCanceled' : 'Timedout', 'the lease was not opened in time');
      }
      await sleep(wait);
    }
  }

  /** @param length bytes of the stream */
  async push(body: Readable, length: number, signal: AbortSignal): Promise<void> {
    const url = this.urls.find(({ isDisk }) => isDisk);
    if (!url) throw new VimFault('InvalidState', 'the lease has no disk');
    const answer = await this.send(url, 'POST', { 'content-type': TYPE }, { stream: body, length }, signal);
    const text = await textOf(answer, 1 << 16);
    if (answer.statusCode !== 200 && answer.statusCode !== 201)
      throw new VimFault('CannotCreateFile', `the member answered ${answer.statusCode} ${text.slice(0, 200)}`);
  }

  /**
   * @param file name of the disk's file, by which some name it
   * @param unit its place on the controller, by which others do
   */
  async pull(file: string, unit: number, signal: AbortSignal): Promise<IncomingMessage> {
    const disks = this.urls.filter(({ isDisk }) => isDisk);
    const url = disks.find((each) => each.file === file) ?? disks.find(({ key }) => key.endsWith(`:${unit}`));
    if (!url) throw new VimFault('FileNotFound', 'the lease does not have the disk');
    const answer = await this.send(url, 'GET', {}, undefined, signal);
    if (answer.statusCode === 200) return answer;
    answer.resume();
    throw new VimFault('CannotAccessFile', `the member answered ${answer.statusCode}`);
  }

  complete(): Promise<unknown> {
    return this.session.call(this.ref, 'HttpNfcLeaseComplete');
  }

  /** What came by it goes again. Succeeds when it is over already. */
  async abort(): Promise<void> {
    await this.session.call(this.ref, 'HttpNfcLeaseAbort').catch((error: unknown) => {
      if (!isFault(error, 'ManagedObjectNotFound', 'InvalidState', 'Timedout')) throw error;
    });
  }

  /** Keeps it open until the result is called. */
  keepAlive(): () => void {
    const tell = () => void this.session.call(this.ref, 'HttpNfcLeaseProgress', { percent: 50 }).catch(() => undefined);
    const timer = setInterval(tell, KEEP_ALIVE);
    timer.unref();
    return () => clearInterval(timer);
  }

  private async send(
    { url, thumbprint }: DeviceUrl,
    method: 'GET' | 'POST',
    headers: Record<string, string>,
    body: { readonly stream: Readable; readonly length: number } | undefined,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    if (this.session.url.protocol === 'https:' && url.protocol !== 'https:')
      throw new VimFault('NotSupported', 'the lease is not encrypted');
    const exchange = { method, path: `${url.pathname}${url.search}`, headers, timeout: QUIET_LIMIT, signal };
    const trust = thumbprint === '' ? null : ({ kind: 'pinned', fingerprints: [thumbprint] } as const);
    const endpoint = new HttpEndpoint(url, trust ?? this.session.trust, 10_000);
    try {
      const answer = await endpoint.send(body ? { ...exchange, body } : exchange);
      answer.once('close', () => endpoint.close());
      return answer;
    } catch (error) {
      endpoint.close();
      throw error instanceof NoConnection || error instanceof VimFault || signal.aborted
        ? error
        : new NoConnection((error as Error).message, { cause: error });
    }
  }
}

/** A single host says `*` for itself: it is reached as it was for the call. */
const urlOf = ({ url, sslThumbprint, targetId, disk, key }: AnswerObject, own: URL): DeviceUrl => ({
  url: new URL(String(url).replace(/\/\/\*(:\d+)?/, (_, port) => `//${port ? `${own.hostname}${port}` : own.host}`)),
  thumbprint: String(sslThumbprint ?? ''),
  file: String(targetId ?? ''),
  key: String(key ?? ''),
  isDisk: disk === true || disk === 'true',
});

const leaseFault = (error: Answer | undefined): VimFault => {
  const { fault, localizedMessage } = (error ?? {}) as AnswerObject;
  return vimFault(fault ?? error, String(localizedMessage ?? 'the lease could not be opened'));
};
