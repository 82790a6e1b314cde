import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { LineReader } from '../lines.ts';

type Message = Readonly<Record<string, unknown>> & {
  readonly id?: unknown;
  readonly method?: unknown;
  readonly error?: { readonly code: number; readonly message: string };
};

/** A client that sends whatever it is told to. */
export class RawClient {
  readonly socket: Socket;
  readonly #messages: Message[] = [];
  readonly #lines = new LineReader(1 << 24);
  readonly #waiting: (() => void)[] = [];
  readonly closed: Promise<unknown>;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      for (const line of this.#lines.push(chunk).lines) this.#messages.push(JSON.parse(line.toString()));
      this.#wake();
    });
    this.closed = once(socket, 'close').then(() => this.#wake());
  }

  #wake(): void {
    for (const resume of this.#waiting.splice(0)) resume();
  }

  static async connect(path: string): Promise<RawClient> {
    const socket = connect(path);
    await once(socket, 'connect');
    return new RawClient(socket);
  }

  send(data: Uint8Array | string | object): void {
    const raw = typeof data === 'string' || data instanceof Uint8Array;
    this.socket.write(raw ? data : `${JSON.stringify(data)}\n`);
  }
  /** The next message that `wanted` accepts; `undefined` if the connection closes first. */
  async next(wanted: (message: Message) => boolean = () => true): Promise<Message | undefined> {
    for (;;) {
      const at = this.#messages.findIndex(wanted);
      if (at >= 0) return this.#messages.splice(at, 1)[0];
      if (this.socket.destroyed) return undefined;
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
  }
  async call(method: string, params: object = {}): Promise<Message | undefined> {
    const id = Math.random();
    this.send({ jsonrpc: '2.0', id: `${id}`, method, params });
    return this.next((message) => message.id === `${id}`);
  }
}
