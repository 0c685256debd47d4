#!/usr/bin/env node
import { connectClient } from './client.js';
import { run } from './program.js';

process.exitCode = await run(
  process.argv.slice(2),
  { line: (text) => process.stdout.write(`${text}\n`), error: (text) => process.stderr.write(`${text}\n`) },
  () => connectClient(process.env),
);
