#!/usr/bin/env node
/**
 * Stands in for powershell.exe: joins standard input and output to the double at OMNIVISOR_HYPERV_DOUBLE (the socket that
 * serve.mjs names). It takes the arguments of the real one and refuses those that would not run the host script.
 */
import { createConnection } from 'node:net';

const args = process.argv.slice(2).join(' ');
// Where ssh has a forced command it calls us without arguments.
if (
  args !== '' &&
  !/-NoProfile -NonInteractive -ExecutionPolicy \w+ -File \S*omnivisor-host\.ps1( -Root .+)?$/.test(args)
) {
  console.error(`powershell: cannot run ${args}`);
  process.exit(1);
}
const socket = createConnection(process.env.OMNIVISOR_HYPERV_DOUBLE ?? '');
socket.once('error', (error) => {
  console.error(error.message);
  process.exit(1);
});
process.stdin.pipe(socket).pipe(process.stdout);
socket.once('close', () => process.exit(0));
