import fc from 'fast-check';

/** Property tests repeat exactly; `FC_SEED=random` lets them wander, `FC_SEED=<n>` takes another path. */
const seed = process.env.FC_SEED ?? '20260101';
if (seed !== 'random') fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: Number(seed) });
