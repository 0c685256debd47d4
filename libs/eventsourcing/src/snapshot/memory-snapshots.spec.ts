import { describeSnapshots } from '../testing/snapshots-suite.js';
import { MemorySnapshots } from './memory-snapshots.js';

describeSnapshots('memory', async () => new MemorySnapshots());
