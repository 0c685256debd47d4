import { createHash } from 'node:crypto';
import {
  type CommandContext,
  type CommandId,
  conflict,
  type IdentityNameEvent,
  type Instant,
  identityNameEvents,
} from '@omnivisor/contracts';
import type { Aggregate, CommandHandler } from '@omnivisor/eventsourcing';

export interface NameState {
  readonly owner: string | null;
  readonly at: Instant | null;
}

type NameCommand =
  | {
      readonly type: 'take';
      readonly kind: string;
      readonly owner: string;
      readonly at: Instant;
      readonly from: string | null;
    }
  | { readonly type: 'giveBack'; readonly kind: string; readonly owner: string };

export const names: Aggregate<NameState, NameCommand, IdentityNameEvent> = {
  events: identityNameEvents,
  initial: { owner: null, at: null },
  decide: (command, state) => {
    const { kind, owner } = command;
    if (command.type === 'giveBack')
      return state.owner === owner ? [{ type: 'IdentityNameGivenBack', data: { kind, owner } }] : [];
    if (state.owner === owner) return [];
    if (state.owner !== null && state.owner !== command.from) throw conflict('name is taken');
    return [{ type: 'IdentityNameTaken', data: { kind, owner, at: command.at } }];
  },
  evolve: (_, event) =>
    event.type === 'IdentityNameTaken' ? { owner: event.data.owner, at: event.data.at } : { owner: null, at: null },
};

/** A name that was taken this long ago by something that never came may be taken by another. */
const ABANDONED = 60_000;

const keyOf = (kind: string, scope: string, name: string): string =>
  createHash('sha256').update(`${kind}\0${scope}\0${name}`).digest('hex').slice(0, 40);

/** Unique names: one stream per name, so that two replicas cannot both take it. */
export class Names {
  constructor(private readonly commands: CommandHandler) {}

  /**
   * @param exists whether an owner of such a name is really there
   * @throws DomainError `conflict` in Keystone's words
   */
  async take(
    kind: string,
    scope: string,
    name: string,
    owner: string,
    at: Instant,
    context: CommandContext,
    exists: (owner: string) => Promise<boolean>,
  ): Promise<void> {
    const key = keyOf(kind, scope, name);
    const holder = await this.commands.load(names, key);
    let from: string | null = null;
    if (holder.owner !== null && holder.owner !== owner) {
      const abandoned = Date.parse(at) - Date.parse(holder.at!) > ABANDONED && !(await exists(holder.owner));
      if (!abandoned) throw this.taken(kind, name);
      from = holder.owner;
    }
    try {
      await this.commands.execute(names, key, { type: 'take', kind, owner, at, from }, step(context, `name-${key}`));
    } catch (error) {
      if ((error as { kind?: string }).kind === 'conflict') throw this.taken(kind, name);
      throw error;
    }
  }

  async giveBack(kind: string, scope: string, name: string, owner: string, context: CommandContext): Promise<void> {
    const key = keyOf(kind, scope, name);
    await this.commands.execute(names, key, { type: 'giveBack', kind, owner }, step(context, `free-${key}`));
  }

  private taken(kind: string, name: string) {
    return conflict(`Conflict occurred attempting to store ${kind} - Duplicate entry found with name ${name}.`);
  }
}

const step = (context: CommandContext, name: string): CommandContext => ({
  ...context,
  commandId: `${context.commandId}/${name}`.slice(0, 128) as CommandId,
});
