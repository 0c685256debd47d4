import { z } from 'zod';

const bytes = z.number().nonnegative();
const part = z.object({ total: bytes, remaining: bytes });

/** How far a running guest is on its way to another host: its memory, and its disks where they are copied. */
export const MigrationProgress = z.object({ memory: part, disk: part });
export type MigrationProgress = z.infer<typeof MigrationProgress>;
