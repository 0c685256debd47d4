import { WebSocket } from 'ws';

/** What `send` makes a serial console answer; the HTTP status when it does not open. */
export const serial = (url: string, send: string, wanted: RegExp): Promise<string | number> =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(url, 'binary');
    let seen = '';
    const timer = setTimeout(() => {
      socket.terminate();
      reject(new Error(`the console said only ${JSON.stringify(seen)}`));
    }, 20_000);
    const end = (result: string | number) => {
      clearTimeout(timer);
      socket.close();
      resolve(result);
    };
    socket.on('open', () => socket.send(Buffer.from(send)));
    socket.on('message', (data: Buffer) => {
      seen += data.toString();
      if (wanted.test(seen)) end(seen);
    });
    socket.on('unexpected-response', (_, response) => end(response.statusCode ?? 0));
    socket.on('error', () => undefined);
  });
