import type { Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import { isCoded } from '@polyvisor/core';
import * as v from 'valibot';
import { LineReader } from './lines.ts';
import { LIMITS, type RequestId, RpcCode, requestSchema } from './protocol.ts';

/** A client, as a method sees it. */
export interface Client {
  notify(method: string, params: Readonly<Record<string, unknown>>): void;
  /** Called once, when the client is gone. */
  onClose(listener: () => void): void;
}

/** A method: what its parameters must be, and what it does with them. */
export interface Method {
  call(params: Readonly<Record<string, unknown>>, client: Client): unknown;
}

/** A method whose parameters are checked before it is called. */
export function method<Schema extends v.GenericSchema>(
  schema: Schema,
  call: (params: v.InferOutput<Schema>, client: Client) => unknown,
): Method {
  return {
    call(params, client) {
      const checked = v.safeParse(schema, params);
      if (!checked.success) throw new RpcFailure(RpcCode.INVALID_PARAMS, describeIssues(checked.issues));
      return call(checked.output, client);
    },
  };
}

class RpcFailure extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

function describeIssues(issues: readonly v.BaseIssue<unknown>[]): string {
  const [issue] = issues;
  const path = v.getDotPath(issue);
  return `${path ? `${path}: ` : ''}${issue.message}`.slice(0, 200);
}

/** Answers requests on sockets. It trusts nothing that comes in, and no client can hold up another or the guest. */
export class ControlServer {
  readonly #methods: ReadonlyMap<string, Method>;
  readonly #nowMs: () => number;
  readonly #clients = new Set<Connection>();
  readonly net: Server;

  constructor(methods: ReadonlyMap<string, Method>, nowMs: () => number = () => performance.now()) {
    this.#methods = methods;
    this.#nowMs = nowMs;
    this.net = createServer((socket) => this.#accept(socket));
    // A VM does not live for its control socket.
    this.net.unref();
    this.net.on('error', () => {});
  }

  /** To every client. */
  broadcast(method: string, params: Readonly<Record<string, unknown>>): void {
    for (const client of this.#clients) client.notify(method, params);
  }

  /** No more clients; those that are there get what has been sent to them, if they read it. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.net.close(() => resolve()));
    for (const client of this.#clients) client.end();
    const timer = setTimeout(() => this.#dropAll(), CLOSING_MS);
    await closed;
    clearTimeout(timer);
  }

  #dropAll(): void {
    for (const client of this.#clients) client.drop();
  }

  #accept(socket: Socket): void {
    const connection = new Connection(socket, this.#methods, this.#nowMs);
    if (this.#clients.size >= LIMITS.connections) {
      connection.refuse(RpcCode.TOO_MANY_CONNECTIONS, `${LIMITS.connections} clients are connected already`);
      return;
    }
    this.#clients.add(connection);
    connection.onClose(() => this.#clients.delete(connection));
  }
}

/** How long the last messages to clients may take. */
const CLOSING_MS = 500;

class Connection implements Client {
  readonly #socket: Socket;
  readonly #methods: ReadonlyMap<string, Method>;
  readonly #nowMs: () => number;
  readonly #lines = new LineReader(LIMITS.requestBytes);
  readonly #onClose: (() => void)[] = [];
  #refused = false;
  #secondStartMs = Number.NEGATIVE_INFINITY;
  #requestsInSecond = 0;

  constructor(socket: Socket, methods: ReadonlyMap<string, Method>, nowMs: () => number) {
    this.#socket = socket;
    this.#methods = methods;
    this.#nowMs = nowMs;
    socket.unref();
    socket.on('data', (chunk) => this.#read(chunk));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      for (const listener of this.#onClose.splice(0)) listener();
    });
  }

  notify(name: string, params: Readonly<Record<string, unknown>>): void {
    this.#send({ jsonrpc: '2.0', method: name, params });
  }
  onClose(listener: () => void): void {
    if (this.#socket.destroyed) listener();
    else this.#onClose.push(listener);
  }
  end(): void {
    this.#socket.end();
  }
  drop(): void {
    this.#socket.destroy();
  }
  /** One answer that belongs to no request, and then nothing more. */
  refuse(code: number, message: string): void {
    if (this.#refused) return;
    this.#sendError(null, code, message);
    this.#refused = true;
    this.#socket.end();
    // Nor is what a client goes on sending read for ever.
    setTimeout(() => this.drop(), CLOSING_MS).unref();
  }

  #read(chunk: Uint8Array): void {
    if (this.#refused) return;
    const { lines, tooLong } = this.#lines.push(chunk);
    for (const line of lines) {
      if (this.#refused) return;
      if (this.#tooFast()) {
        this.refuse(RpcCode.TOO_MANY_REQUESTS, `more than ${LIMITS.requestsPerSecond} requests in a second`);
        return;
      }
      void this.#handle(line);
    }
    if (tooLong) this.refuse(RpcCode.TOO_LARGE, `a request is longer than ${LIMITS.requestBytes} bytes`);
  }

  #tooFast(): boolean {
    const nowMs = this.#nowMs();
    if (nowMs - this.#secondStartMs >= 1000) {
      this.#secondStartMs = nowMs;
      this.#requestsInSecond = 0;
    }
    return ++this.#requestsInSecond > LIMITS.requestsPerSecond;
  }

  async #handle(line: Buffer): Promise<void> {
    let message: unknown;
    try {
      message = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(line));
    } catch {
      this.#sendError(null, RpcCode.PARSE, 'a line is not JSON in UTF-8');
      return;
    }
    const request = v.safeParse(requestSchema, message);
    if (!request.success) {
      this.#sendError(null, RpcCode.INVALID_REQUEST, describeIssues(request.issues));
      return;
    }
    await this.#answer(request.output);
  }

  async #answer(request: v.InferOutput<typeof requestSchema>): Promise<void> {
    const { id, method: name, params = {} } = request;
    try {
      const known = this.#methods.get(name);
      if (!known) throw new RpcFailure(RpcCode.METHOD_NOT_FOUND, `no method ${name}`);
      const result = await known.call(params, this);
      if (id !== undefined) this.#send({ jsonrpc: '2.0', id, result: result ?? {} });
    } catch (error) {
      if (id !== undefined) this.#sendFailure(id, error);
    }
  }

  #sendFailure(id: RequestId, error: unknown): void {
    if (error instanceof RpcFailure) this.#sendError(id, error.code, error.message);
    else if (isCoded(error)) {
      this.#sendError(id, RpcCode.REFUSED, error.message, { code: error.code, fix: error.fix });
    } else this.#sendError(id, RpcCode.INTERNAL, error instanceof Error ? error.message : String(error));
  }
  #sendError(id: RequestId, code: number, message: string, data?: Readonly<Record<string, string>>): void {
    this.#send({ jsonrpc: '2.0', id, error: { code, message, ...(data && { data }) } });
  }
  #send(message: object): void {
    if (this.#refused || this.#socket.destroyed || this.#socket.writableEnded) return;
    this.#socket.write(`${JSON.stringify(message)}\n`);
    // A client that does not read what it asked for is dropped, before it fills the memory.
    if (this.#socket.writableLength > LIMITS.unreadBytes) this.drop();
  }
}
