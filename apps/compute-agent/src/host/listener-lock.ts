import { createConnection, createServer, type Socket } from 'node:net';

const LOOK_AGAIN = 200;

/**
 * Takes the lock that an address stands for: whoever listens there has it, and the system lets go of it when that process
 * ends, in whatever way. The address has to leave nothing behind: a named pipe of Windows, or an abstract socket of Linux.
 */
export const listenerLock = async (address: string, how: 'try' | 'wait'): Promise<(() => Promise<void>) | null> => {
  for (;;) {
    const release = await listen(address);
    if (release || how === 'try') return release;
    await gone(address);
  }
};

const listen = (address: string): Promise<(() => Promise<void>) | null> =>
  new Promise((resolve, reject) => {
    const waiting = new Set<Socket>();
    const server = createServer((socket) => {
      waiting.add(socket.unref());
      socket.on('error', () => socket.destroy());
      socket.once('close', () => waiting.delete(socket));
    });
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(null) : reject(error),
    );
    server.listen(address, () => {
      server.unref();
      resolve(
        () =>
          new Promise((done) => {
            server.close(() => done());
            for (const socket of waiting) socket.destroy();
          }),
      );
    });
  });

/** Until the holder lets go: it hangs up then, or is not there any more. One that nobody may speak to is looked at again. */
const gone = (address: string): Promise<void> =>
  new Promise((resolve) => {
    const socket = createConnection(address);
    let spoke = false;
    socket.once('connect', () => {
      spoke = true;
    });
    socket.on('error', () => socket.destroy());
    socket.once('close', () => setTimeout(resolve, spoke ? 0 : LOOK_AGAIN));
    // Its end is not read otherwise.
    socket.resume();
  });
