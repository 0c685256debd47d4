import { createRequire } from 'node:module';
import * as grpc from '@grpc/grpc-js';

/**
 * An in-process server that speaks the part of KurrentDB's gRPC protocol that an event store needs: Read, BatchAppend and
 * ServerFeatures. Memory only. It stands in for the wire contract, not for the server: what it proves is the adapter.
 */
const PROTOCOL = '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1';
const load = createRequire(import.meta.url);
const from = createRequire(load.resolve('@kurrent/kurrentdb-client'));
// The stubs have types for clients only; here they serve.
// biome-ignore lint/suspicious/noExplicitAny: see above
type Stub = any;
const streams: Stub = load(`${PROTOCOL}/streams_pb`);
const shared: Stub = load(`${PROTOCOL}/shared_pb`);
const status: Stub = load(`${PROTOCOL}/status_pb`);
const features: Stub = load(`${PROTOCOL}/serverfeatures_pb`);
const { StreamsService }: Stub = load(`${PROTOCOL}/streams_grpc_pb`);
const { ServerFeaturesService }: Stub = load(`${PROTOCOL}/serverfeatures_grpc_pb`);
const { Any }: Stub = from('google-protobuf/google/protobuf/any_pb');
const { Empty }: Stub = from('google-protobuf/google/protobuf/empty_pb');

interface Stored {
  readonly id: string;
  readonly stream: string;
  readonly revision: number;
  readonly position: number;
  readonly type: string;
  readonly contentType: string;
  readonly data: Uint8Array;
  readonly metadata: Uint8Array;
  /** 100 ns since 1970, as the server counts. */
  readonly created: bigint;
}

const uuidText = (uuid: Stub): string => {
  if (uuid.hasString()) return uuid.getString();
  const { mostSignificantBits, leastSignificantBits } = uuid.getStructured().toObject();
  const hex = [mostSignificantBits, leastSignificantBits]
    .map((bits: string) => BigInt.asUintN(64, BigInt(bits)).toString(16).padStart(16, '0'))
    .join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
};

const nameOf = (identifier: Stub): string => Buffer.from(identifier.getStreamName_asU8()).toString();

export interface KurrentDouble {
  readonly url: string;
  /** Closes all connections; what is stored stays. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

export const startKurrentDouble = async (): Promise<KurrentDouble> => {
  const log: Stored[] = [];
  const byStream = new Map<string, Stored[]>();
  let position = 1_000;
  let server: grpc.Server;
  let port = 0;

  const store = (stream: string, messages: readonly Omit<Stored, 'stream' | 'revision' | 'position' | 'created'>[]) => {
    const events = byStream.get(stream) ?? [];
    byStream.set(stream, events);
    const created = BigInt(Date.now()) * 10_000n;
    for (const message of messages) {
      position += 100 + message.data.length;
      const stored = { ...message, stream, revision: events.length, position, created };
      events.push(stored);
      log.push(stored);
    }
  };
  const noise = () => {
    const empty = new Uint8Array();
    store('$stats', [
      {
        id: crypto.randomUUID(),
        type: '$statsCollected',
        contentType: 'application/json',
        data: empty,
        metadata: empty,
      },
    ]);
  };
  noise();

  const readable = (event: Stored): Stub => {
    const id = new shared.UUID();
    id.setString(event.id);
    const identifier = new shared.StreamIdentifier();
    identifier.setStreamName(Buffer.from(event.stream));
    const recorded = new streams.ReadResp.ReadEvent.RecordedEvent();
    recorded.setId(id);
    recorded.setStreamIdentifier(identifier);
    recorded.setStreamRevision(String(event.revision));
    recorded.setPreparePosition(String(event.position));
    recorded.setCommitPosition(String(event.position));
    recorded.getMetadataMap().set('type', event.type);
    recorded.getMetadataMap().set('content-type', event.contentType);
    recorded.getMetadataMap().set('created', String(event.created));
    recorded.setCustomMetadata(event.metadata);
    recorded.setData(event.data);
    const read = new streams.ReadResp.ReadEvent();
    read.setEvent(recorded);
    read.setCommitPosition(String(event.position));
    const response = new streams.ReadResp();
    response.setEvent(read);
    return response;
  };

  const read = (call: Stub) => {
    const options = call.request.getOptions();
    if (options.hasSubscription())
      return call.emit('error', { code: grpc.status.UNIMPLEMENTED, details: 'no subscriptions here' });
    const backwards = options.getReadDirection() === 1;
    let found: readonly Stored[];
    if (options.hasStream()) {
      const of = options.getStream();
      const stream = nameOf(of.getStreamIdentifier());
      const events = byStream.get(stream);
      if (!events) {
        const missing = new streams.ReadResp.StreamNotFound();
        missing.setStreamIdentifier(of.getStreamIdentifier());
        const response = new streams.ReadResp();
        response.setStreamNotFound(missing);
        call.write(response);
        return call.end();
      }
      const start = of.hasRevision() ? Number(of.getRevision()) : undefined;
      found = events.filter((e) => start === undefined || (backwards ? e.revision <= start : e.revision >= start));
    } else {
      const at = options.getAll();
      const start = at.hasPosition() ? Number(at.getPosition().getCommitPosition()) : undefined;
      found = log.filter((e) => start === undefined || (backwards ? e.position < start : e.position >= start));
    }
    if (options.hasFilter()) {
      const regex = new RegExp(options.getFilter().getEventType().getRegex());
      found = found.filter((e) => regex.test(e.type));
    }
    const ordered = backwards ? [...found].reverse() : found;
    for (const event of ordered.slice(0, Number(options.getCount()))) call.write(readable(event));
    return call.end();
  };

  /** As the server does it: the same events at the same expected revision are the same append. */
  const append = (stream: string, options: Stub, messages: Stub[], response: Stub): void => {
    const events = byStream.get(stream) ?? [];
    const actual = events.length - 1;
    const expected = options.hasNoStream()
      ? -1
      : options.hasStreamPosition()
        ? Number(options.getStreamPosition())
        : actual;
    const ids = messages.map((message) => uuidText(message.getId()));
    const again = ids.every((id, i) => events[expected + 1 + i]?.id === id);
    if (expected !== actual && !again) {
      const wrong = new shared.WrongExpectedVersion();
      if (actual < 0) wrong.setCurrentNoStream(new Empty());
      else wrong.setCurrentStreamRevision(String(actual));
      if (expected < 0) wrong.setExpectedNoStream(new Empty());
      else wrong.setExpectedStreamPosition(String(expected));
      const details = new Any();
      details.pack(wrong.serializeBinary(), 'event_store.client.WrongExpectedVersion', '');
      const error = new status.Status();
      error.setCode(9);
      error.setMessage('WrongExpectedVersion');
      error.setDetails(details);
      response.setError(error);
      return;
    }
    if (!again) {
      store(
        stream,
        messages.map((message, i) => ({
          id: ids[i]!,
          type: message.getMetadataMap().get('type'),
          contentType: message.getMetadataMap().get('content-type'),
          data: message.getData_asU8(),
          metadata: message.getCustomMetadata_asU8(),
        })),
      );
      if (log.length % 7 === 0) noise();
    }
    const last = byStream.get(stream)![expected + messages.length]!;
    const at = new shared.AllStreamPosition();
    at.setCommitPosition(String(last.position));
    at.setPreparePosition(String(last.position));
    const success = new streams.BatchAppendResp.Success();
    success.setCurrentRevision(String(last.revision));
    success.setPosition(at);
    response.setSuccess(success);
  };

  const batchAppend = (call: Stub) => {
    const parts = new Map<string, { options: Stub; messages: Stub[] }>();
    call.on('data', (request: Stub) => {
      const id = uuidText(request.getCorrelationId());
      const part = parts.get(id) ?? { options: request.getOptions(), messages: [] };
      parts.set(id, part);
      part.messages.push(...request.getProposedMessagesList());
      if (!request.getIsFinal()) return;
      parts.delete(id);
      const response = new streams.BatchAppendResp();
      response.setCorrelationId(request.getCorrelationId());
      response.setStreamIdentifier(part.options.getStreamIdentifier());
      append(nameOf(part.options.getStreamIdentifier()), part.options, part.messages, response);
      call.write(response);
    });
    call.on('end', () => call.end());
    call.on('error', () => {});
  };

  const getSupportedMethods = (_: Stub, answer: Stub) => {
    const method = new features.SupportedMethod();
    method.setServiceName('event_store.client.streams.streams');
    method.setMethodName('batchappend');
    const methods = new features.SupportedMethods();
    methods.setEventStoreServerVersion('25.0.0');
    methods.addMethods(method);
    answer(null, methods);
  };

  const start = async () => {
    server = new grpc.Server();
    const refuse = (_: Stub, answer: Stub) => answer({ code: grpc.status.UNIMPLEMENTED });
    server.addService(StreamsService, { read, batchAppend, append: refuse, delete: refuse, tombstone: refuse });
    server.addService(ServerFeaturesService, { getSupportedMethods });
    port = await new Promise<number>((resolve, reject) =>
      server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      ),
    );
  };
  await start();
  return {
    url: `kurrentdb://127.0.0.1:${port}?tls=false`,
    start,
    stop: async () => server.forceShutdown(),
  };
};
