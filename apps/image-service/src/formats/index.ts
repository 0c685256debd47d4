export type { DetectedFormat } from './format.js';
export * from './inspector.js';
