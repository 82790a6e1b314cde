import { closeSync, openSync, writeSync } from 'node:fs';
import type { MachineOptions, PluginRegistry } from '@polyvisor/core';
import { fileError } from './cli-error.ts';
import { ExitCode } from './exit-codes.ts';
import type { TraceRequest } from './options.ts';

const FLUSH_CHARACTERS = 1 << 16;
const STDERR = 2;

/** Writes trace events as JSON lines. */
export class TraceSink {
  readonly #request: TraceRequest;
  readonly #descriptor: number;
  #pending = '';

  constructor(request: TraceRequest) {
    this.#request = request;
    this.#descriptor = request.file === undefined ? STDERR : openTrace(request.file);
  }

  /** Listens to the channels asked for. */
  attach(registry: PluginRegistry): void {
    for (const channel of this.#request.channels) {
      registry.onTrace(channel, ({ plugin, data }) => this.#write({ channel, plugin, ...data }));
    }
  }

  /** What the machine is to call with each exit, if exits are asked for. */
  get onExit(): MachineOptions['onExit'] {
    if (!this.#request.channels.includes('exits')) return undefined;
    return ({ vcpu, rip, exit, answer }) => this.#write({ channel: 'exits', vcpu, rip, ...exit, answer });
  }

  close(): void {
    this.#flush();
    if (this.#descriptor !== STDERR) closeSync(this.#descriptor);
  }

  #write(event: Readonly<Record<string, unknown>>): void {
    this.#pending += `${JSON.stringify(event, writable)}\n`;
    if (this.#pending.length >= FLUSH_CHARACTERS) this.#flush();
  }

  #flush(): void {
    const bytes = Buffer.from(this.#pending);
    this.#pending = '';
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#descriptor, bytes, at);
  }
}

function openTrace(file: string): number {
  try {
    return openSync(file, 'w');
  } catch (error) {
    throw fileError(`cannot write the trace ${file}`, error, ExitCode.USAGE);
  }
}

/** 64-bit values are written as hexadecimal strings: JSON's numbers would lose bits. */
function writable(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return `0x${value.toString(16)}`;
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  return value;
}
