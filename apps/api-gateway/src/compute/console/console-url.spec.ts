import { expect, it } from 'vitest';
import { consoleUrl } from './console-url.js';

it('a VNC console is a page that is told its WebSocket, below the path of the cloud', () => {
  const page = new URL(consoleUrl('https://cloud.example/api', 'vnc', 't'));
  expect(page.pathname).toBe('/api/console/vnc_lite.html');
  expect(page.searchParams.get('path')).toBe('/api/console/?token=t');
});

it('a serial console is the WebSocket itself', () => {
  expect(consoleUrl('https://cloud.example/api', 'serial', 't')).toBe('wss://cloud.example/api/console/?token=t');
  expect(consoleUrl('http://127.0.0.1:8780', 'serial', 't')).toBe('ws://127.0.0.1:8780/console/?token=t');
});
