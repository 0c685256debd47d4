/**
 * Where a client opens a console, as Nova's proxies give it: a page of noVNC that is told the path of its WebSocket, and
 * for a serial port the WebSocket itself.
 * @param root of the public API, without a trailing slash
 */
export const consoleUrl = (root: string, protocol: 'vnc' | 'serial', token: string): string => {
  const socket = `/console/?token=${token}`;
  if (protocol === 'serial') return root.replace(/^http/, 'ws') + socket;
  const path = new URL(root).pathname.replace(/\/$/, '') + socket;
  return `${root}/console/vnc_lite.html?path=${encodeURIComponent(path)}`;
};
