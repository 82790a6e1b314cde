/** A machine in the test's own process: quicker than `vm` as a child, and its registers can be looked at. */
import { Machine, type MachineOptions, PluginRegistry, recogniseImage } from '@polyvisor/core';
import type { ConsolePort, Devices, Plugin } from '@polyvisor/plugin-api';
import { nodeDecompressor } from '../../packages/cli/src/node/decompress/index.ts';

class Console implements ConsolePort {
  output = '';
  readonly #dialogue: Dialogue | undefined;
  #typed = 0;
  readonly #early: Uint8Array[] = [];
  #type: (bytes: Uint8Array) => void = (bytes) => void this.#early.push(bytes);

  constructor(dialogue: Dialogue | undefined) {
    this.#dialogue = dialogue;
  }

  write(bytes: Uint8Array): void {
    this.output += Buffer.from(bytes).toString('latin1');
    if (!this.#dialogue || !this.output.endsWith(this.#dialogue.prompt)) return;
    const line = this.#dialogue.lines[this.#typed++];
    // Typed after the guest has had its turn.
    if (line !== undefined) setImmediate(() => this.#type(Buffer.from(`${line}\n`)));
  }
  /** As the command line's console does, this one keeps what nobody takes yet. */
  type(text: string): void {
    this.#type(Buffer.from(text));
  }
  onInput(listener: (bytes: Uint8Array) => void): void {
    this.#type = listener;
    for (const bytes of this.#early.splice(0)) listener(bytes);
  }
}

/** What is typed each time that the guest shows its prompt. */
export interface Dialogue {
  readonly prompt: string;
  readonly lines: readonly string[];
}

export interface Guest {
  readonly name: string;
  readonly file: Uint8Array;
  readonly commandLine?: string;
  readonly plugins: readonly (readonly [Plugin, Readonly<Record<string, string>>?])[];
  readonly devices?: Devices;
  /** By default the door of the highest priority. */
  readonly entryName?: string;
  readonly dialogue?: Dialogue;
  readonly options?: Pick<MachineOptions, 'exits'> | undefined;
  /** Typed before the guest's first instruction. */
  readonly typedFirst?: string;
}

/** Built and booted, and nothing executed yet. @throws PolyvisorError of plug-ins, doors and loaders */
export async function machineInProcess({ name, file, commandLine = '', plugins: wanted, devices, ...guest }: Guest) {
  const plugins = new PluginRegistry();
  for (const [plugin, options = {}] of wanted) plugins.load(plugin, { where: 'test', options });
  const console = new Console(guest.dialogue);
  const machine = await Machine.create({
    image: await recogniseImage(file, name, nodeDecompressor),
    commandLine,
    memoryBytes: 16 << 20,
    clockKind: 'icount',
    console,
    ...(devices && { devices }),
    ...(guest.entryName !== undefined && { entryName: guest.entryName }),
    ...guest.options,
    plugins,
    wallClock: { nowNs: () => performance.now() * 1e6, epochNs: () => 1_700_000_000_000_000_000n },
    idle: () => new Promise(setImmediate),
  });
  if (guest.typedFirst !== undefined) console.type(guest.typedFirst);
  return { machine, console, plugins, counters: () => plugins.counters() };
}
