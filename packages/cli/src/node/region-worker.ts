/** What runs in the thread that compiles code: see region-thread.ts. */
import { workerData } from 'node:worker_threads';
import { RegionThreadServer, type ToThread } from '@polyvisor/core';
import { type Ahead, improveAhead, loadAhead } from './code-keeper/load-ahead.ts';
import type { RegionWorkerData } from './region-thread.ts';
import { putThisThreadBehind } from './thread-priority.ts';

putThisThreadBehind();
const { port, sent, ahead } = workerData as RegionWorkerData;
const count = new Int32Array(sent);
const server = new RegionThreadServer((message) => {
  port.postMessage(message);
  Atomics.add(count, 0, 1);
});
const memory = new Promise<WebAssembly.Memory>((resolve) => {
  port.on('message', (message: ToThread) => {
    if (message.kind === 'start') resolve(message.memory);
    server.receive(message);
  });
});
if (ahead) void prepare(ahead).catch(() => {});

async function prepare(code: Ahead): Promise<void> {
  await loadAhead(code);
  await improveAhead(await memory);
}
