/** A machine in the test's own process: quicker than `vm` as a child, and its registers can be looked at. */
import { Machine, PluginRegistry, recogniseImage } from '@polyvisor/core';
import type { ConsolePort, Devices, Plugin } from '@polyvisor/plugin-api';
import { nodeDecompressor } from '../../packages/cli/src/node/decompress/index.ts';

class Console implements ConsolePort {
  output = '';
  write(bytes: Uint8Array): void {
    this.output += Buffer.from(bytes).toString('latin1');
  }
  onInput(): void {}
}

export interface Guest {
  readonly name: string;
  readonly file: Uint8Array;
  readonly commandLine?: string;
  readonly plugins: readonly (readonly [Plugin, Readonly<Record<string, string>>?])[];
  readonly devices?: Devices;
}

/** Built and booted, and nothing executed yet. @throws PolyvisorError of plug-ins, doors and loaders */
export async function machineInProcess({ name, file, commandLine = '', plugins: wanted, devices }: Guest) {
  const plugins = new PluginRegistry();
  for (const [plugin, options = {}] of wanted) plugins.load(plugin, { where: 'test', options });
  const console = new Console();
  const machine = await Machine.create({
    image: await recogniseImage(file, name, nodeDecompressor),
    commandLine,
    memoryBytes: 16 << 20,
    clockKind: 'icount',
    console,
    ...(devices && { devices }),
    plugins,
    wallClock: { nowNs: () => performance.now() * 1e6, epochNs: () => 1_700_000_000_000_000_000n },
    idle: async () => {},
  });
  return { machine, console };
}
