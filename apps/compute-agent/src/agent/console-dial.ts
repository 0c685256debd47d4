import { WebSocket } from 'ws';
import type { ConsoleStream } from '../drivers/hypervisor-driver.js';

const MAX_WAITING = 1024 * 1024;
/** What the gateway takes at once. */
const MAX_MESSAGE = 64 * 1024;

/** Dials out to the gateway and joins the socket to a guest's console; resolves once both are open. */
export const dialConsole = async (url: string, console: ConsoleStream): Promise<void> => {
  const socket = new WebSocket(url, 'binary', { handshakeTimeout: 10_000 });
  const end = () => {
    console.close();
    socket.close();
  };
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('open', resolve);
      socket.once('error', reject);
    });
  } catch (error) {
    end();
    throw error;
  }
  socket.on('message', (data: Buffer) => console.writable.write(data));
  socket.on('close', end);
  socket.on('error', end);
  console.readable.on('data', (data: Buffer) => {
    if (socket.bufferedAmount > MAX_WAITING) return end();
    for (let at = 0; at < data.length; at += MAX_MESSAGE) socket.send(data.subarray(at, at + MAX_MESSAGE));
  });
  console.readable.on('end', end);
  console.readable.on('error', end);
};
