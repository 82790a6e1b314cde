import type { PluginRegistry } from '@polyvisor/core';
import type { ConsolePort, GuestImage, ShutdownReason } from '@polyvisor/plugin-api';

export interface MachineOptions {
  readonly image: GuestImage;
  readonly entryName?: string;
  readonly commandLine: string;
  readonly initrd?: Uint8Array;
  readonly memoryBytes: number;
  readonly clockKind: 'icount' | 'wall';
  readonly console: ConsolePort;
  readonly plugins: PluginRegistry;
  readonly wallClock: { nowNs(): number; epochNs(): bigint };
  readonly symbols?: (gva: bigint) => string | undefined;
  idle(maxNs: number): Promise<void>;
}

export interface RunEnd {
  readonly reason: ShutdownReason | { readonly kind: 'stopped' };
  readonly report?: string;
}

export interface RunnableMachine {
  run(): Promise<RunEnd>;
  stop(): void;
  stats(): Record<string, number | string>;
}

export type CreateMachine = (options: MachineOptions) => Promise<RunnableMachine>;

export const createMachine: CreateMachine = async (options) => {
  const core = (await import('@polyvisor/core')) as unknown as { Machine?: { create: CreateMachine } };
  if (!core.Machine) throw new Error('core exports no Machine yet');
  return core.Machine.create(options);
};
