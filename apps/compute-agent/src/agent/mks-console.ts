import { once } from 'node:events';
import { createWebSocketStream, WebSocket } from 'ws';
import { openTrustedSocket } from '../drivers/common/trusted-socket.js';
import { type ConsoleStream, type ConsoleTicket, HypervisorError } from '../drivers/hypervisor-driver.js';

const PATIENCE = 10_000;
/** Bytes; an ESXi host is not to fill this process with one message. */
const MAX_MESSAGE = 4 * 1024 * 1024;

/**
 * Opens a console of VMware's WebMKS with a ticket for it. The ticket goes only to who shows the certificate that it
 * came with.
 * @throws HypervisorError `unavailable`
 */
export const openMks = async ({ host, port, accessPath, thumbprint }: ConsoleTicket): Promise<ConsoleStream> => {
  try {
    const trust =
      thumbprint === null
        ? ({ kind: 'authorities', pem: null } as const)
        : ({ kind: 'pinned', fingerprints: [thumbprint] } as const);
    const secured = await openTrustedSocket({ secure: true, host, port }, trust, PATIENCE);
    const name = host.includes(':') ? `[${host}]` : host;
    // The socket is one of TLS already.
    const url = `ws://${name}:${port}/ticket/${encodeURIComponent(accessPath)}`;
    const socket = new WebSocket(url, 'binary', {
      ...{ handshakeTimeout: PATIENCE, maxPayload: MAX_MESSAGE },
      createConnection: () => secured,
    });
    const stream = createWebSocketStream(socket);
    // Who reads it hears that it ends; until then nobody does, and it must not end this process.
    stream.on('error', () => stream.destroy());
    await once(socket, 'open');
    return { readable: stream, writable: stream, close: () => void stream.destroy() };
  } catch (error) {
    throw new HypervisorError('unavailable', 'the console does not answer', (error as Error).message, { cause: error });
  }
};
