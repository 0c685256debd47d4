import { closeSync, constants, openSync, rmSync } from 'node:fs';
import { createConnection, type Server, type Socket } from 'node:net';
import { basename, dirname } from 'node:path';

/** A system call takes 107 bytes of a path; by the descriptor of its folder any path is short. */
const byFolder = (path: string): { readonly short: string; close(): void } => {
  const folder = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  return { short: `/proc/self/fd/${folder}/${basename(path)}`, close: () => closeSync(folder) };
};

/** Connects to a unix socket, however long its path is. */
export const connectUnix = (path: string): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const { short, close } = byFolder(path);
    const socket = createConnection(short);
    const settle = (action: () => void) => {
      close();
      socket.removeAllListeners();
      action();
    };
    socket.once('connect', () => settle(() => resolve(socket)));
    socket.once('error', (error) => settle(() => reject(error)));
  });

/** Lets a server listen on a unix socket, however long its path is; what was there before goes. */
export const listenUnix = async (server: Server, path: string): Promise<void> => {
  rmSync(path, { force: true });
  const { short, close } = byFolder(path);
  // Node removes the socket by the same name when the server closes.
  server.once('close', close);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(short, () => resolve());
  });
};
