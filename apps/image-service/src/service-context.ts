import type { CommandContext, CommandId, RequestId } from '@omnivisor/contracts';

/** Context of a command that the service gives by itself, about what has this id (a UUID). */
export const serviceContext = (id: string, step: string): CommandContext => {
  const requestId = `req-${id}` as RequestId;
  return {
    actor: { kind: 'service', service: 'image-service' },
    requestId,
    correlationId: requestId,
    causationId: null,
    commandId: `${requestId}/${step}` as CommandId,
  };
};
