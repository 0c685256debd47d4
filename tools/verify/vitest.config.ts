import { mergeConfig } from 'vitest/config';
import base from '../../vitest.config.js';

/** Suites over things that no test run has: they are asked for by name. */
const config = mergeConfig(base, { test: { maxWorkers: 1 } });
config.test.include = ['{apps,tools}/**/*.verify.ts'];
export default config;
