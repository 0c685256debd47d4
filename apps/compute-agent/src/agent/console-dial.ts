import { WebSocket } from 'ws';
import type { ConsoleStream } from '../drivers/hypervisor-driver.js';

/** Bytes that wait for the gateway before the console is read no further, and for the guest before it is given up. */
const MAX_WAITING = 1024 * 1024;
/** What the gateway takes, and passes on, at once. */
const MAX_MESSAGE = 64 * 1024;

/** Dials out to the gateway and joins the socket to a guest's console; resolves once both are open. */
export const dialConsole = async (url: string, console: ConsoleStream): Promise<void> => {
  const socket = new WebSocket(url, 'binary', { handshakeTimeout: 10_000, maxPayload: MAX_MESSAGE });
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
  let untaken = 0;
  socket.on('message', (data: Buffer) => {
    // One that waited here would not hear that its user has left.
    if (untaken > MAX_WAITING) return end();
    untaken += data.length;
    console.writable.write(data, () => {
      untaken -= data.length;
    });
  });
  socket.on('close', end);
  socket.on('error', end);
  const sent = () => {
    if (console.readable.isPaused() && socket.bufferedAmount <= MAX_WAITING) console.readable.resume();
  };
  console.readable.on('data', (data: Buffer) => {
    for (let at = 0; at < data.length; at += MAX_MESSAGE) socket.send(data.subarray(at, at + MAX_MESSAGE), sent);
    if (socket.bufferedAmount > MAX_WAITING) console.readable.pause();
  });
  console.readable.on('end', end);
  console.readable.on('error', end);
};
