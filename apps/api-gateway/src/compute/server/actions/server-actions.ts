import {
  conflict,
  type DomainError,
  invalid,
  type PowerOperation,
  type ServerId,
  unsupported,
} from '@omnivisor/contracts';
import type { ByVersion } from '@omnivisor/openstack';
import { z } from 'zod';
import * as t from '../../common/parameters.js';
import { migrateLiveSchema, migrateSchema } from '../move/server-migrator.js';
import { resizeSchema } from '../move/server-resizer.js';
import { invalidState } from '../state/server-rules.js';
import type { Run, ServerActionSpec } from './server-action.js';
import { passwordSchema } from './server-password-changer.js';
import { rebuildSchema } from './server-rebuilder.js';
import { rescueSchema } from './server-rescuer.js';
import { createImage } from './server-snapshotter.js';
import { unbuiltActions } from './unbuilt-actions.js';

const anything: ByVersion<z.ZodType> = [['2.1', z.unknown()]];

const power = (operation: PowerOperation): Run => ({
  kind: 'command',
  command: (call, row) => ({ type: 'power', serverId: row.id, operation, asAdmin: call.isAdmin }),
});

const reboot = z.strictObject({ type: z.enum(['HARD', 'Hard', 'hard', 'SOFT', 'Soft', 'soft']) });
const groupName = z.strictObject({ name: t.name });
const lockReason = z.strictObject({ locked_reason: z.string().min(1).max(255).optional() });
const console = (...types: [string, ...string[]]): ByVersion<z.ZodType> => [
  ['2.1', z.strictObject({ type: z.enum(types) })],
];
const consoleLength = z
  .union([z.int().min(-1), z.string().regex(/^-?[0-9]+$/), z.null()])
  .transform((n) => (n === null ? null : Number(n)));

/** Every action that Compute knows, and what becomes of it. Source: Nova's routes, 2026. */
export const serverActions: Readonly<Record<string, ServerActionSpec>> = {
  'os-start': { policy: 'os_compute_api:servers:start', value: anything, run: power('start') },
  'os-stop': { policy: 'os_compute_api:servers:stop', value: anything, run: power('stop') },
  reboot: {
    policy: 'os_compute_api:servers:reboot',
    value: [['2.1', reboot]],
    run: {
      kind: 'command',
      command: (call, row, value: z.infer<typeof reboot>) => ({
        type: 'power',
        serverId: row.id,
        operation: value.type.toUpperCase() === 'HARD' ? 'hardReboot' : 'softReboot',
        asAdmin: call.isAdmin,
      }),
    } as Run,
  },
  pause: {
    policy: 'os_compute_api:os-pause-server:pause',
    value: anything,
    needs: 'pausing',
    run: power('pause'),
  },
  unpause: {
    policy: 'os_compute_api:os-pause-server:unpause',
    value: anything,
    needs: 'pausing',
    run: power('unpause'),
  },
  suspend: {
    policy: 'os_compute_api:os-suspend-server:suspend',
    value: anything,
    needs: 'suspending',
    run: power('suspend'),
  },
  resume: {
    policy: 'os_compute_api:os-suspend-server:resume',
    value: anything,
    needs: 'suspending',
    run: power('resume'),
  },
  rebuild: {
    policy: 'os_compute_api:servers:rebuild',
    value: rebuildSchema,
    needs: 'rebuilding',
    run: { kind: 'rebuild' },
  },
  rescue: {
    policy: 'os_compute_api:os-rescue',
    value: rescueSchema,
    needs: 'rescuing',
    run: { kind: 'rescue' },
  },
  createImage: {
    policy: 'os_compute_api:servers:create_image',
    value: [['2.1', createImage]],
    needs: 'snapshots',
    run: { kind: 'createImage' },
  },
  resize: {
    policy: 'os_compute_api:servers:resize',
    value: [['2.1', resizeSchema]],
    host: 'up',
    needs: 'resizing',
    run: { kind: 'resize' },
  },
  confirmResize: {
    policy: 'os_compute_api:servers:confirm_resize',
    value: anything,
    needs: 'resizing',
    run: {
      kind: 'command',
      status: 204,
      command: (call, row) => ({ type: 'confirmResize', serverId: row.id, asAdmin: call.isAdmin }),
    },
  },
  revertResize: {
    policy: 'os_compute_api:servers:revert_resize',
    value: anything,
    // What it was before may be on another one.
    host: 'none',
    needs: 'resizing',
    run: {
      kind: 'command',
      command: (call, row) => ({ type: 'revertResize', serverId: row.id, asAdmin: call.isAdmin }),
    },
  },
  migrate: {
    policy: 'os_compute_api:os-migrate-server:migrate',
    value: migrateSchema,
    host: 'up',
    needs: 'snapshots',
    run: { kind: 'migrate' },
  },
  'os-migrateLive': {
    policy: 'os_compute_api:os-migrate-server:migrate_live',
    value: migrateLiveSchema,
    host: 'up',
    needs: 'liveMigration',
    run: { kind: 'migrateLive' },
  },
  trigger_crash_dump: {
    policy: 'os_compute_api:servers:trigger_crash_dump',
    versions: ['2.17'],
    value: [['2.1', z.null()]],
    needs: 'crashDumps',
    run: { kind: 'crashDump' },
  },
  changePassword: {
    policy: 'os_compute_api:os-admin-password',
    value: [['2.1', passwordSchema]],
    needs: 'guestAgent',
    unsupported: 'Unable to set password on instance',
    run: { kind: 'changePassword' },
  },
  unrescue: {
    policy: 'os_compute_api:os-unrescue',
    value: anything,
    needs: 'rescuing',
    run: {
      kind: 'command',
      command: (call, row) => ({ type: 'unrescue', serverId: row.id, asAdmin: call.isAdmin }),
    },
  },
  lock: {
    policy: 'os_compute_api:os-lock-server:lock',
    value: [
      ['2.1', z.unknown()],
      ['2.73', lockReason.nullable()],
    ],
    host: 'none',
    run: {
      kind: 'command',
      command: (call, row, value: z.infer<typeof lockReason> | null) => ({
        type: 'lock',
        serverId: row.id,
        reason: (call.since('2.73') && value?.locked_reason) || null,
        by: call.token.projectId === row.projectId ? 'owner' : 'admin',
      }),
    } as Run,
  },
  unlock: {
    policy: 'os_compute_api:os-lock-server:unlock',
    value: anything,
    host: 'none',
    run: {
      kind: 'command',
      command: (call, row) => {
        if (row.lockedBy !== null && row.lockedBy !== (call.token.projectId === row.projectId ? 'owner' : 'admin'))
          call.enforce('os_compute_api:os-lock-server:unlock:unlock_override', {
            project_id: row.projectId,
            user_id: row.userId,
          });
        return { type: 'unlock', serverId: row.id };
      },
    },
  },
  'os-resetState': {
    policy: 'os_compute_api:os-admin-actions:reset_state',
    value: [['2.1', z.strictObject({ state: z.enum(['active', 'error']) })]],
    host: 'none',
    run: {
      kind: 'command',
      command: (_, row, value: { state: 'active' | 'error' }) => ({
        type: 'resetState',
        serverId: row.id,
        state: value.state,
      }),
    } as Run,
  },
  addSecurityGroup: {
    policy: 'os_compute_api:os-security-groups:add',
    value: [['2.1', groupName]],
    host: 'none',
    run: { kind: 'securityGroup', change: 'add' },
  },
  removeSecurityGroup: {
    policy: 'os_compute_api:os-security-groups:remove',
    value: [['2.1', groupName]],
    host: 'none',
    run: { kind: 'securityGroup', change: 'remove' },
  },
  'os-getConsoleOutput': {
    policy: 'os_compute_api:os-console-output',
    value: [['2.1', z.strictObject({ length: consoleLength.optional() })]],
    run: { kind: 'consoleOutput' },
  },
  'os-getVNCConsole': {
    policy: 'os_compute_api:os-remote-consoles',
    versions: ['2.1', '2.5'],
    value: console('novnc', 'xvpvnc'),
    run: { kind: 'console', protocol: 'vnc' },
  },
  'os-getSerialConsole': {
    policy: 'os_compute_api:os-remote-consoles',
    versions: ['2.1', '2.5'],
    value: console('serial'),
    run: { kind: 'console', protocol: 'serial' },
  },
  'os-getSPICEConsole': {
    policy: 'os_compute_api:os-remote-consoles',
    versions: ['2.1', '2.5'],
    value: console('spice-html5'),
    run: { kind: 'console', protocol: 'spice' },
  },
  'os-getRDPConsole': {
    policy: 'os_compute_api:os-remote-consoles',
    versions: ['2.1', '2.5'],
    value: console('rdp-html5'),
    run: { kind: 'console', protocol: 'rdp' },
  },
  restore: {
    policy: 'os_compute_api:os-deferred-delete:restore',
    value: anything,
    host: 'none',
    run: {
      kind: 'command',
      // Deletion is never put off, so that no server is in a state to be restored from.
      command: (_, row) => {
        throw invalidState('restore', row.id, 'vm_state', row.vmState);
      },
    },
  },
  ...unbuiltActions,
};

/** Removes a server whatever it does. Apart from the table, because it needs the time. */
export const FORCE_DELETE = 'forceDelete';
export const forceDeletePolicy = 'os_compute_api:os-deferred-delete:force';

/** The one action that a body names. @throws DomainError `invalid` */
export const namedAction = (body: Readonly<Record<string, unknown>>): string => {
  const names = Object.keys(body);
  if (names.length !== 1) throw invalid(`Malformed request body: ${names.length === 0 ? 'no' : 'too many'} body keys`);
  return names[0]!;
};

export const noSuchAction = (name: string): DomainError => invalid(`There is no such action: ${name.slice(0, 255)}`);
export const notBuilt = (): DomainError => unsupported('The requested functionality is not supported.');
export const notReady = (id: ServerId): DomainError => conflict(`Instance ${id} is not ready`);
