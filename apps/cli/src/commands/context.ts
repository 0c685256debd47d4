import type { Client } from '../client.js';
import type { Output } from '../output.js';

/** What a command needs: it only asks and prints. */
export interface CommandContext {
  readonly out: Output;
  /** Connects when first asked, so that `--help` needs no cloud. */
  client(): Promise<Client>;
  /** Ends with this code though nothing was thrown. */
  fail(code: number): void;
}
