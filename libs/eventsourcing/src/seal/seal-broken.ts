/** The log is no longer what was sealed, or its seals are not whole. Sealing stops; `audit verify` finds where. */
export class SealBroken extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'SealBroken';
  }
}
