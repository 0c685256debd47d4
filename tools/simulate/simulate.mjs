#!/usr/bin/env node
/**
 * npm run simulate -- [--seed N] [--seeds N] [--minutes N] [--teeth] [--nightly]: the whole control plane in one
 * process, hurt in every way that a seed chooses.
 */
import { runTypeScript } from '../typescript.mjs';

await runTypeScript('tools/simulate/main.ts');
