import type { RdpTicket } from '@omnivisor/contracts';

/**
 * What a client of Remote Desktop needs for a machine's console at its Hyper-V host: the machine is named before the
 * session is negotiated (a preconnection blob), and its service knows one kind of security only. No credentials.
 */
export const rdpFile = ({ host, port, accessPath }: RdpTicket): string =>
  [
    `full address:s:${host.includes(':') ? `[${host}]` : host}:${port}`,
    `pcb:s:${accessPath}`,
    `server port:i:${port}`,
    'negotiate security layer:i:0',
    '',
  ].join('\r\n');
