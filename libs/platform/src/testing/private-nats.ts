import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createAuthority, type NatsAuthority, type NatsServerSettings, natsServerConfig } from '../nats/credentials.js';

export interface PrivateNats {
  readonly authority: NatsAuthority;
  readonly url: string;
  readonly port: number;
  /** Ends the server; `start` brings it back on the same port. */
  stop(): Promise<void>;
  start(): Promise<void>;
  /** Ends it for good. */
  close(): Promise<void>;
}

const root = fileURLToPath(new URL('../../../../', import.meta.url));

/**
 * A NATS server of its own for an integration spec, with an authority of its own.
 * @param tls files of a certificate; connections are plain when not given
 */
export const privateNats = async (tls?: NatsServerSettings['tls']): Promise<PrivateNats> => {
  const tool = new URL('../../../../tools/services/nats.mjs', import.meta.url).href;
  const { natsServerBinary, startNats } = await import(/* @vite-ignore */ tool);
  const binary: string = await natsServerBinary(join(root, 'node_modules/.cache/omnivisor'));
  const dir = mkdtempSync(join(tmpdir(), 'omnivisor-nats-'));
  const authority = await createAuthority('spec');
  const config = natsServerConfig({
    authority,
    storeDir: join(dir, 'js'),
    serverName: 'spec',
    ...(tls ? { tls } : {}),
  });
  let service: { url: string; port: number; stop(): Promise<void> } = await startNats({ dir, binary, config });
  const { url, port } = service;
  return {
    authority,
    url,
    port,
    stop: () => service.stop(),
    start: async () => {
      service = await startNats({ dir, binary, config, port });
    },
    close: async () => {
      await service.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
};
