#!/usr/bin/env node
/** npm run chaos -- [--only FAULT] [--seconds N] [--seed N]: a real cloud under load, hurt in one way after the other. */
import { runTypeScript } from '../typescript.mjs';

await runTypeScript('tools/chaos/main.ts');
