import { expect, it } from 'vitest';
import { consoleUrl } from './console-url.js';

it('a VNC console is a page that is told its WebSocket, below the path of the cloud', () => {
  const page = new URL(consoleUrl('https://cloud.example/api', 'vnc', 't'));
  expect(page.pathname).toBe('/api/console/vnc_lite.html');
  expect(page.searchParams.get('path')).toBe('api/console/?token=t');
  const atRoot = new URL(consoleUrl('http://127.0.0.1:8780', 'vnc', 't'));
  expect(atRoot.searchParams.get('path')).toBe('console/?token=t');
});

it('a console by Remote Desktop is a file', () => {
  const file = 'https://cloud.example/api/compute/v2.1/os-omnivisor-console.rdp?token=t';
  expect(consoleUrl('https://cloud.example/api', 'rdp', 't')).toBe(file);
});

it.each(['serial', 'mks'] as const)('a console by %s is the WebSocket itself', (protocol) => {
  expect(consoleUrl('https://cloud.example/api', protocol, 't')).toBe('wss://cloud.example/api/console/?token=t');
  expect(consoleUrl('http://127.0.0.1:8780', protocol, 't')).toBe('ws://127.0.0.1:8780/console/?token=t');
});
