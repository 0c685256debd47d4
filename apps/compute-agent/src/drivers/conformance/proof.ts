import { features } from '@omnivisor/contracts';
import { basics } from '../../../../../tools/generate/support-matrix.mjs';

/** What every driver has to do; the optional members are the `Feature`s of contracts. */
export type Basic = keyof typeof basics;
export type Proof = Basic | keyof typeof features;

export const PROOFS = [...Object.keys(basics), ...Object.keys(features)] as Proof[];

/** True for what is only there when supported. */
export const isFeature = (proof: Proof): proof is keyof typeof features => Object.hasOwn(features, proof);
