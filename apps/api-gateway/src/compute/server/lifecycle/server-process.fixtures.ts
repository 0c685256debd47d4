import type { Instant } from '@omnivisor/contracts';
import { memoryCore, userContext } from '../../../core/gateway-core.fixtures.js';
import { type ServerRow, serverProjection, serverTable } from '../view/server.projection.js';
import { history } from './server.fixtures.js';
import { ServerProcess } from './server.process.js';
import { type ServerCommand, serverAggregate } from './server-lifecycle.js';
import type { ServerProcessPorts } from './server-process-ports.js';

/** A server that runs on a host, and its process, which finds nothing to do but what `ports` are asked for. */
export const activeServer = async (ports: Partial<ServerProcessPorts>) => {
  const { core, world } = memoryCore([serverProjection]);
  const nothing = async () => undefined as never;
  core.run(
    new ServerProcess(core, {
      ...{ network: nothing, readiness: nothing, reserve: nothing, plug: nothing, release: nothing },
      ...{ releasePort: nothing, dropImage: nothing, takeQuota: nothing, settleQuota: nothing },
      ...{ dropTransfer: nothing, sends: nothing, sent: nothing, strays: async () => [] },
      ...ports,
    }),
  );
  const { serverId, host } = history;
  const send = (command: ServerCommand) => core.commands.execute(serverAggregate, serverId, command, userContext());
  const fact = { kind: 'spawned', power: 'running', bootId: 'b1' } as const;
  const now = '2026-01-01T00:00:00.000Z' as Instant;
  await send({ type: 'create', request: history.request });
  await send({ type: 'schedule', schedule: history.schedule(1), ports: [] });
  await send({ type: 'report', serverId, host, attempt: 1, fact, now });
  await core.start();
  const row = async (): Promise<ServerRow> => (await (await core.fresh()).get(serverTable, serverId))!;
  return { core, world, send, row };
};
