import type { Feature } from '@omnivisor/contracts';
import type { ByVersion, Call } from '@omnivisor/openstack';
import type { z } from 'zod';
import type { ServerCommand } from '../lifecycle/server-lifecycle.js';
import type { ServerRow } from '../view/server.projection.js';

/** An action of `POST /servers/{id}/action`. */
export interface ServerActionSpec {
  readonly policy: string;
  /** First and last microversion that know it. */
  readonly versions?: readonly [from: string, to?: string];
  /** Schema of the value beside the action's name. */
  readonly value: ByVersion<z.ZodType>;
  /** `none`: not all of it, or nothing, is done by the server's host; `up`: it does not wait for one that is down. */
  readonly host?: 'none' | 'up';
  /** What the server's host has to be able to do; where it cannot, nothing is accepted. */
  readonly needs?: Feature;
  /** What the refusal says then, where clients know it by a text of its own. */
  readonly unsupported?: string;
  readonly run: Run;
}

/** Commands to send, a question to the host, or a refusal before anything is accepted. */
export type Run =
  | {
      readonly kind: 'command';
      readonly status?: 204;
      readonly command: (call: Call, row: ServerRow, value: never) => ServerCommand;
    }
  | { readonly kind: 'securityGroup'; readonly change: 'add' | 'remove' }
  | { readonly kind: 'consoleOutput' }
  | { readonly kind: 'console'; readonly protocol: 'vnc' | 'serial' | 'spice' | 'rdp' }
  /** Answered by one of the controller's services. */
  | { readonly kind: 'rebuild' }
  | { readonly kind: 'rescue' }
  | { readonly kind: 'createImage' }
  | { readonly kind: 'resize' }
  | { readonly kind: 'migrate' }
  | { readonly kind: 'migrateLive' }
  | { readonly kind: 'crashDump' }
  | { readonly kind: 'changePassword' }
  | { readonly kind: 'unsupported' };
