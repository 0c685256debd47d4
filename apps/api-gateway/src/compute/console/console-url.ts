import type { ConsoleProtocol } from './console.projection.js';

/** Below the root of the Compute API: where a file for Remote Desktop is. */
export const RDP_PATH = '/v2.1/os-omnivisor-console.rdp';

/**
 * Where a client opens a console, as Nova's proxies give it: a page of noVNC that is told the path of its WebSocket; for
 * a serial port and for WebMKS the WebSocket itself; for Remote Desktop a file that its clients open.
 * @param root of the public API, without a trailing slash
 */
export const consoleUrl = (root: string, protocol: ConsoleProtocol, token: string): string => {
  const socket = `/console/?token=${token}`;
  switch (protocol) {
    case 'rdp':
      return `${root}/compute${RDP_PATH}?token=${token}`;
    case 'serial':
    case 'mks':
      return root.replace(/^http/, 'ws') + socket;
    case 'vnc': {
      // Without a leading slash, as in links of Nova: clients that open the WebSocket themselves put one before it.
      const path = (new URL(root).pathname.replace(/\/$/, '') + socket).slice(1);
      return `${root}/console/vnc_lite.html?path=${encodeURIComponent(path)}`;
    }
  }
};
