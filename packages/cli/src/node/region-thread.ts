import { availableParallelism } from 'node:os';
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import type { FromThread, RegionThread, ToThread } from '@polyvisor/core';
import type { CompileThreadChoice } from '../options.ts';
import type { Ahead } from './code-keeper/load-ahead.ts';
import { threadFile } from './import-file.ts';

/** What the thread is started with. */
export interface RegionWorkerData {
  readonly port: MessagePort;
  /** One i32: how many messages the thread has sent. */
  readonly sent: SharedArrayBuffer;
  /** Has code of earlier runs, which is to be loaded ahead of its use. */
  readonly ahead: Ahead | undefined;
}

/**
 * A thread that compiles code, if it is wanted and of use; none where the sources run as they are. First it loads what a file
 * has of earlier runs.
 */
export function openRegionThread(choice: CompileThreadChoice, ahead?: Ahead): NodeRegionThread | undefined {
  const file = threadFile(new URL('region-worker.ts', import.meta.url).href);
  if (file === undefined || choice === 'off' || (choice === 'auto' && availableParallelism() < 2)) return undefined;
  return new NodeRegionThread(new URL(file), ahead);
}

/** A thread of Node. It does not keep the process alive. */
class NodeRegionThread implements RegionThread {
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #sent = new Int32Array(new SharedArrayBuffer(4));
  #received = 0;
  failed = false;

  constructor(file: URL, ahead: Ahead | undefined) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    const workerData: RegionWorkerData = { port: port2, sent: this.#sent.buffer as SharedArrayBuffer, ahead };
    this.#worker = new Worker(file, { workerData, transferList: [port2] });
    this.#worker.on('error', () => {
      this.failed = true;
    });
    this.#worker.unref();
  }

  send(message: ToThread): void {
    this.#port.postMessage(message);
  }

  receive(): FromThread | undefined {
    // Asking the port costs much more than this look.
    if (Atomics.load(this.#sent, 0) === this.#received) return undefined;
    const received = receiveMessageOnPort(this.#port);
    if (!received) return undefined;
    this.#received = (this.#received + 1) | 0;
    return received.message;
  }

  async close(): Promise<void> {
    this.failed = true;
    this.#port.close();
    await this.#worker.terminate();
  }
}
