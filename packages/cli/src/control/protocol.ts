import * as v from 'valibot';

/** What a VM bears of its clients. */
export const LIMITS = {
  /** One request, with its newline. */
  requestBytes: 64 * 1024,
  connections: 16,
  /** Of one connection, answered or not. */
  requestsPerSecond: 2000,
  /** Written to a client and not read by it. */
  unreadBytes: 4 * 1024 * 1024,
  /** Typed for the guest and not taken by it. */
  inputBytes: 256 * 1024,
  /** Console output that a client sees when it attaches. */
  recentBytes: 16 * 1024,
} as const;

/** JSON-RPC 2.0, 5.1, and codes of our own from the range that it leaves to servers. */
export const RpcCode = {
  PARSE: -32700,
  INVALID_REQUEST: -32600,
  METHOD_NOT_FOUND: -32601,
  INVALID_PARAMS: -32602,
  INTERNAL: -32603,
  TOO_LARGE: -32001,
  TOO_MANY_CONNECTIONS: -32002,
  TOO_MANY_REQUESTS: -32003,
  /** Understood, but not in this state of the VM. `data` is the code and the fix of a coded error. */
  REFUSED: -32004,
} as const;

const id = v.union([v.pipe(v.string(), v.maxLength(256)), v.pipe(v.number(), v.safeInteger()), v.null()]);

/** A request; without an id it is a notification, which is not answered. Batches are not taken. */
export const requestSchema = v.strictObject({
  jsonrpc: v.literal('2.0'),
  id: v.optional(id),
  method: v.pipe(v.string(), v.maxLength(64)),
  // By name only. An array would pass for a record.
  params: v.optional(
    v.pipe(
      v.unknown(),
      v.check((params) => !Array.isArray(params), 'parameters go by name'),
      v.record(v.string(), v.unknown()),
    ),
  ),
});
export type RequestId = v.InferOutput<typeof id>;

/** What a server sends: an answer or a notification. */
export const serverMessageSchema = v.union([
  v.object({ jsonrpc: v.literal('2.0'), id, result: v.unknown() }),
  v.object({
    jsonrpc: v.literal('2.0'),
    id,
    error: v.object({
      code: v.number(),
      message: v.string(),
      data: v.optional(v.object({ code: v.string(), fix: v.string() })),
    }),
  }),
  v.object({ jsonrpc: v.literal('2.0'), method: v.string(), params: v.record(v.string(), v.unknown()) }),
]);

const base64 = v.pipe(v.string(), v.base64());

export const noParams = v.strictObject({});
export const stopParams = v.strictObject({ force: v.optional(v.boolean(), false) });
export const inputParams = v.strictObject({ data: base64 });
export const watchParams = v.strictObject({
  intervalMs: v.pipe(v.number(), v.integer(), v.minValue(100), v.maxValue(3_600_000)),
});

export const infoSchema = v.object({
  name: v.string(),
  pid: v.pipe(v.number(), v.integer()),
  /** File name, and what it is in words. */
  image: v.string(),
  description: v.string(),
  /** Name of the door that the guest was started through; absent while it is being started. */
  entry: v.optional(v.string()),
  plugins: v.array(v.string()),
  memoryBytes: v.number(),
  clock: v.picklist(['icount', 'wall']),
  /** ISO 8601. */
  startedAt: v.string(),
  state: v.picklist(['starting', 'running', 'paused']),
});
export type VmInfo = v.InferOutput<typeof infoSchema>;

const value = v.union([v.number(), v.string()]);
export const statsSchema = v.object({
  elapsedSeconds: v.number(),
  machine: v.record(v.string(), value),
  plugins: v.array(v.object({ plugin: v.string(), name: v.string(), count: v.number() })),
});
export type VmStats = v.InferOutput<typeof statsSchema>;

export const stateSchema = v.object({ state: v.picklist(['running', 'paused']) });
export const outputSchema = v.object({ data: base64 });
export const endedSchema = v.object({ exitCode: v.number(), reason: v.string() });
export const stoppedSchema = v.object({ asked: v.picklist(['guest', 'machine']) });
