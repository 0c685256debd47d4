/**
 * Decides which replica of a service does what one of them should do. Losing it costs time, never a fact: what is
 * written is guarded by the expected revision of its stream.
 */
export interface Leadership {
  /**
   * Stands for election until `stop`. `gained` and `lost` alternate, starting with `gained`; a new term does not begin
   * before `lost` of the last one has settled.
   */
  campaign(gained: () => Promise<void>, lost: () => Promise<void>): void;
  /** Gives the lead back and stands no more. */
  stop(): Promise<void>;
}
