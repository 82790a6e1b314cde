import { connect, type Socket } from 'node:net';
import { PolyvisorError } from '@polyvisor/plugin-api';
import * as v from 'valibot';
import { controlError } from '../cli-error.ts';
import { ExitCode } from '../exit-codes.ts';
import { LineReader } from './lines.ts';
import { serverMessageSchema } from './protocol.ts';

type ServerMessage = v.InferOutput<typeof serverMessageSchema>;
type Answer = Exclude<ServerMessage, { method: string }>;

const LONGEST_ANSWER_BYTES = 16 * 1024 * 1024;
export const ANSWER_TIMEOUT_MS = 5000;

/** The client's end of a VM's control socket. */
export class ControlClient {
  readonly #name: string;
  readonly #socket: Socket;
  readonly #lines = new LineReader(LONGEST_ANSWER_BYTES);
  readonly #waiting = new Map<number, (answer: Answer | undefined) => void>();
  readonly #listeners = new Map<string, (params: Readonly<Record<string, unknown>>) => void>();
  #lastId = 0;
  /** Why the VM closed the connection, if it said so. */
  #farewell: string | undefined;
  /** Resolves when the connection is closed from either end. */
  readonly closed: Promise<void>;

  private constructor(name: string, socket: Socket) {
    this.#name = name;
    this.#socket = socket;
    socket.on('data', (chunk) => this.#read(chunk));
    socket.on('error', () => socket.destroy());
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        for (const settle of this.#waiting.values()) settle(undefined);
        resolve();
      });
    });
  }

  /** Throws PV3014 if nobody listens. */
  static connect(name: string, socketPath: string): Promise<ControlClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(socketPath);
      socket.once('connect', () => {
        socket.off('error', failed);
        resolve(new ControlClient(name, socket));
      });
      const failed = () => reject(gone(name));
      socket.once('error', failed);
    });
  }

  /** Calls `listener` with the parameters of each such notification. */
  on(method: string, listener: (params: Readonly<Record<string, unknown>>) => void): void {
    this.#listeners.set(method, listener);
  }

  /** Throws the VM's own refusal, PV3013 if that has no code, PV3014 if it does not answer in time or not as it should. */
  async call<Schema extends v.GenericSchema>(
    method: string,
    params: Readonly<Record<string, unknown>>,
    result: Schema,
    timeoutMs = ANSWER_TIMEOUT_MS,
  ): Promise<v.InferOutput<Schema>> {
    const answer = await this.#ask(method, params, timeoutMs);
    if ('error' in answer) {
      const { message, data } = answer.error;
      if (data) throw new PolyvisorError(data.code, `${this.#name}: ${message}`, data.fix, ExitCode.CONTROL);
      throw controlError('PV3013', `${this.#name}: ${message}`, 'see docs/control.md');
    }
    const checked = v.safeParse(result, answer.result);
    if (!checked.success) throw this.#nonsense();
    return checked.output;
  }

  close(): void {
    this.#socket.end();
  }

  async #ask(method: string, params: Readonly<Record<string, unknown>>, timeoutMs: number): Promise<Answer> {
    const id = ++this.#lastId;
    let timer: NodeJS.Timeout | undefined;
    const answer = await new Promise<Answer | 'timeout' | undefined>((resolve) => {
      this.#waiting.set(id, resolve);
      timer = setTimeout(() => resolve('timeout'), timeoutMs);
      if (this.#socket.destroyed) resolve(undefined);
      else this.#socket.write(`${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`);
    });
    clearTimeout(timer);
    this.#waiting.delete(id);
    if (answer === 'timeout') {
      throw controlError('PV3014', `${this.#name} does not answer`, 'is its process stopped? `vm ps` shows its pid');
    }
    if (answer === undefined) throw gone(this.#name, this.#farewell);
    return answer;
  }

  #read(chunk: Uint8Array): void {
    const { lines, tooLong } = this.#lines.push(chunk);
    for (const line of lines) this.#take(line.toString('utf8'));
    if (tooLong) this.#socket.destroy();
  }

  #take(line: string): void {
    const message = parse(line);
    if (!message) this.#socket.destroy();
    else if ('method' in message) this.#listeners.get(message.method)?.(message.params);
    else if (typeof message.id === 'number') this.#waiting.get(message.id)?.(message);
    else if ('error' in message) this.#farewell = message.error.message;
  }

  #nonsense() {
    return controlError('PV3014', `${this.#name} gave an answer that is not understood`, 'use the same version of vm');
  }
}

function parse(line: string): ServerMessage | undefined {
  try {
    return v.parse(serverMessageSchema, JSON.parse(line));
  } catch {
    return undefined;
  }
}

function gone(name: string, why = 'it has ended, or its process was killed') {
  return controlError('PV3014', `the connection to ${name} is closed: ${why}`, '`vm ps` lists those that run');
}
