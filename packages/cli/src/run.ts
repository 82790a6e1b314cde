import {
  type CodeKeeper,
  findDoors,
  loadPlugins,
  Machine,
  type MachineOptions,
  PlacedSymbols,
  PluginRegistry,
  type RegionPolicy,
  type RegionThread,
  type RunEnd,
} from '@polyvisor/core';
import type { Entry } from '@polyvisor/plugin-api';
import { ExpectWatcher } from './console/expect.ts';
import { openFileConsole, openNullConsole } from './console/file.ts';
import type { GuestConsole } from './console/guest-console.ts';
import { ConsoleHub } from './console/hub.ts';
import { openStdioConsole } from './console/stdio.ts';
import { RunningVm } from './control/running-vm.ts';
import { VmControl } from './control/vm-control.ts';
import { type OpenDevices, openDevices } from './devices/open.ts';
import { say } from './diagnostics.ts';
import { Ending } from './ending.ts';
import { refuseInsideDoor } from './entries/capabilities.ts';
import { ExitCode } from './exit-codes.ts';
import { FunctionFile } from './functions/function-file.ts';
import { FunctionLog } from './functions/function-log.ts';
import { Idle } from './idle.ts';
import { openCodeKeeper } from './node/code-keeper/index.ts';
import type { Ahead } from './node/code-keeper/load-ahead.ts';
import { placeCodeTogether } from './node/code-placement.ts';
import { nodeFiles } from './node/file-reader.ts';
import { memoryAdvice } from './node/huge-pages.ts';
import { nodeModuleImporter } from './node/plugin-import.ts';
import { openRegionThread } from './node/region-thread.ts';
import { putOtherThreadsBehind } from './node/thread-priority.ts';
import { wallClockFor } from './node/wall-clock.ts';
import { BootModules, splitBootList } from './ops/boot-modules.ts';
import type { CreateMachine, RunnableMachine, RunOptions, TierChoice } from './options.ts';
import { type PreparedGuest, pluginReferences, prepareGuest } from './prepare.ts';
import { GuestProfile } from './profile/profile.ts';
import { ProfileSink } from './profile/profile-sink.ts';
import { ProgressLine } from './progress.ts';
import { formatStats } from './stats.ts';
import { TraceSink } from './trace-sink.ts';

/** `vm run`: answers the exit code (docs/cli.md). Throws `PolyvisorError` for what can be refused. */
export async function run(options: RunOptions, createMachine: CreateMachine = Machine.create): Promise<number> {
  putOtherThreadsBehind();
  const ending = new Ending();
  const releaseSignals = ending.handleSignals();
  const trace = options.trace && new TraceSink(options.trace);
  let devices: OpenDevices | undefined;
  const profile = options.profilePath === undefined ? undefined : new ProfileSink(options.profilePath);
  const functions = options.functionsPath === undefined ? undefined : new FunctionFile(options.functionsPath);
  try {
    const registry = await loadRegistry(options, trace);
    devices = await openDevices(options);
    const guest = await prepareGuest(
      options,
      registry.plugins.map((plugin) => plugin.name),
      new ProgressLine(),
    );
    refuseInsideDoor(guest.image, findDoors(guest.image, registry.calls).entries, options.entryName);
    const { ops, guests } = splitBootList(guest.bootModules, guest.image);
    const modules = await BootModules.open(options, ops, guest.image);
    say(`${guest.image.name}: ${guest.image.description}`);
    const equipped = { ...guest, bootModules: guests, devices, modules };
    return await new Session(options, equipped, ending, createMachine, { trace, profile, functions }).run(registry);
  } finally {
    await devices?.close();
    trace?.close();
    profile?.close();
    functions?.close();
    releaseSignals();
  }
}

async function loadRegistry(options: RunOptions, trace: TraceSink | undefined): Promise<PluginRegistry> {
  const registry = new PluginRegistry({ log: logPlugin, files: nodeFiles });
  await loadPlugins(registry, pluginReferences(options), nodeModuleImporter());
  trace?.attach(registry);
  return registry;
}

function describeEntry(entry: Entry): string {
  return `entry ${entry.name}: ${entry.abi} at 0x${entry.address.toString(16)}, found in ${entry.foundIn}`;
}

function logPlugin(level: string, plugin: string, message: string): void {
  if (level === 'debug' && process.env.POLYVISOR_DEBUG !== '1') return;
  say(`${plugin}: ${level === 'info' ? '' : `${level}: `}${message}`);
}

/** Where a run leaves what it saw, if asked. */
interface Sinks {
  readonly trace: TraceSink | undefined;
  readonly profile: ProfileSink | undefined;
  readonly functions: FunctionFile | undefined;
}

/** Regions as `--tier` wants them; undefined: as the engine thinks best. */
function regionPolicy(tier: TierChoice): RegionPolicy | false | undefined {
  switch (tier.kind) {
    case 'interpret':
      return false;
    case 'compile':
      return { threshold: 1, batch: 1, growAfter: 16 };
    case 'both':
      return tier.threshold === undefined ? undefined : { threshold: tier.threshold };
  }
}

/** What a machine is started from, and what it is wired to. */
interface EquippedGuest extends PreparedGuest {
  readonly devices: OpenDevices;
  readonly modules: BootModules;
}

/** One `vm run` from power-on to its end, through any number of reboots. */
class Session {
  readonly #options: RunOptions;
  readonly #guest: EquippedGuest;
  readonly #ending: Ending;
  readonly #createMachine: CreateMachine;
  readonly #sinks: Sinks;
  readonly #symbols: PlacedSymbols | undefined;
  /** Of all boots of this run. */
  readonly #profile: GuestProfile | undefined;
  readonly #functions: FunctionLog | undefined;
  readonly #idle = new Idle();
  readonly #expect: ExpectWatcher | undefined;
  readonly #startMs = performance.now();
  /** Whether the guest left the cursor at the start of a line. */
  #atLineStart = true;

  constructor(options: RunOptions, guest: EquippedGuest, ending: Ending, createMachine: CreateMachine, sinks: Sinks) {
    this.#options = options;
    this.#guest = guest;
    this.#ending = ending;
    this.#createMachine = createMachine;
    guest.devices.onWake(() => this.#idle.wake());
    this.#sinks = sinks;
    const symbols = guest.image.elf && new PlacedSymbols(guest.image.elf);
    this.#symbols = symbols;
    this.#profile = sinks.profile && new GuestProfile(symbols);
    this.#functions = sinks.functions && new FunctionLog(symbols, guest.image.elf);
    if (options.expect !== undefined) {
      this.#expect = new ExpectWatcher(options.expect, () => ending.request({ exitCode: ExitCode.OK }));
    }
  }

  async run(registry: PluginRegistry): Promise<number> {
    const console = new ConsoleHub(await this.#openConsole());
    console.onWake(() => this.#idle.wake());
    const vm = new RunningVm({
      options: this.#options,
      image: this.#guest.image,
      console,
      ending: this.#ending,
      idle: this.#idle,
    });
    const timer = this.#startTimer();
    if (this.#options.tier.kind !== 'interpret') await placeCodeTogether();
    const advice = await memoryAdvice();
    const keeper = await this.#openKeeper();
    let control: VmControl | undefined;
    let summary: string[] = [];
    let ended = { exitCode: ExitCode.INTERNAL as number, reason: 'ended by a failure' };
    try {
      if (this.#options.control) control = await VmControl.open(vm, this.#options.name);
      for (let plugins = registry; ; plugins = await loadRegistry(this.#options, this.#sinks.trace)) {
        this.#guest.modules.prepare(plugins);
        const thread = this.#openThread(keeper?.startAhead());
        const machine = await this.#createMachine({
          ...this.#machineOptions(console, plugins, thread, keeper),
          ...(advice && { onMemory: (memory, placeOfImage) => advice.give(memory, placeOfImage) }),
        });
        if (machine instanceof Machine) this.#symbols?.started(machine);
        vm.started(machine, plugins);
        this.#guest.modules.started(machine, vm.ops, plugins);
        if (plugins === registry) say(describeEntry(machine.entry));
        const end = await this.#runMachine(machine).finally(() => thread?.close());
        this.#profile?.settle();
        this.#functions?.settle();
        if (end.reason.kind === 'reboot' && this.#options.reboot) {
          say('the guest rebooted, and is started again');
          continue;
        }
        const { exitCode, lines } = this.#judge(end);
        ended = { exitCode, reason: lines[0] ?? 'the guest powered off' };
        summary = [...lines, ...this.#profileLines(), ...this.#functionLines(), ...this.#statsLines(machine, plugins)];
        return exitCode;
      }
    } finally {
      clearTimeout(timer);
      advice?.end();
      vm.ended();
      await control?.close(ended.exitCode, ended.reason);
      await console.close();
      if (!this.#atLineStart && process.stdout.isTTY && process.stderr.isTTY) process.stderr.write('\n');
      for (const line of summary) say(line);
      // A cache that cannot be written only costs time.
      await keeper?.save().catch(() => {});
    }
  }

  async #runMachine(machine: RunnableMachine): Promise<RunEnd> {
    this.#ending.onRequest(() => {
      machine.stop();
      this.#idle.wake();
    });
    return machine.run();
  }

  /** For code that is compiled because it is hot; `--tier 1` has all of it compiled before it runs. */
  #openThread(ahead: Ahead | undefined) {
    const { tier, compileThread } = this.#options;
    return tier.kind === 'both' ? openRegionThread(compileThread, ahead) : undefined;
  }

  /**
   * For code that is worth having at once next time; `--tier 1` compiles too much of it. What runs in code that is there from the
   * start is not seen to be decoded, by which `--functions` knows what runs.
   */
  async #openKeeper() {
    const { tier, codeCache, plugins, entryName, memoryBytes, functionsPath } = this.#options;
    if (!codeCache || tier.kind === 'compile' || functionsPath !== undefined) return undefined;
    const { file } = this.#guest.image;
    return openCodeKeeper(file, [...(plugins ?? ['default']), `entry=${entryName ?? ''}`, `memory=${memoryBytes}`]);
  }

  #machineOptions(
    console: ConsoleHub,
    plugins: PluginRegistry,
    regionThread?: RegionThread,
    codeKeeper?: CodeKeeper,
  ): MachineOptions {
    const { image, commandLine, initrd, bootModules, devices } = this.#guest;
    const { entryName, memoryBytes, vcpus, clock, exits } = this.#options;
    const onExit = this.#sinks.trace?.onExit;
    const profile = this.#profile;
    const functions = this.#functions;
    const symbols = this.#symbols;
    return {
      image,
      ...(entryName !== undefined && { entryName }),
      commandLine,
      ...(initrd && { initrd }),
      ...(bootModules.length > 0 && { bootModules }),
      chips: this.#options.chips,
      memoryBytes,
      vcpus,
      clockKind: clock,
      console: { write: (bytes) => this.#write(console, bytes), onInput: (listener) => console.onInput(listener) },
      devices: devices.devices,
      plugins,
      wallClock: wallClockFor(clock),
      ...(symbols && { symbols: (gva: bigint) => symbols.look().nameOf(gva) }),
      engine: {
        regions: regionPolicy(this.#options.tier),
        ...(regionThread && { regionThread }),
        ...(codeKeeper && { codeKeeper }),
      },
      log: (message) => logPlugin('debug', 'pc', message),
      ...(exits !== 'asked' && { exits }),
      ...(onExit && { onExit }),
      ...(profile && { onSample: (sample) => profile.add(sample) }),
      ...(functions && { onFirstRun: (run) => functions.add(run) }),
      idle: (maxNs) => this.#idle.wait(maxNs),
    };
  }

  #write(console: ConsoleHub, bytes: Uint8Array): void {
    if (bytes.length === 0 || this.#expect?.found) return;
    console.write(bytes);
    this.#atLineStart = this.#options.console.kind !== 'stdio' || bytes[bytes.length - 1] === 0x0a;
    this.#expect?.see(bytes);
  }

  async #openConsole(): Promise<GuestConsole> {
    const choice = this.#options.console;
    if (choice.kind === 'none') return openNullConsole();
    if (choice.kind === 'file') return openFileConsole(choice.path);
    return openStdioConsole(
      () => this.#ending.request({ exitCode: ExitCode.LEFT }),
      () => this.#ending.request({ exitCode: ExitCode.SIGTERM, message: 'nobody reads the console any more' }),
    );
  }

  #startTimer(): NodeJS.Timeout | undefined {
    const { timeoutSeconds } = this.#options;
    if (timeoutSeconds === undefined) return undefined;
    const message = `the guest was ended after --timeout ${timeoutSeconds}`;
    return setTimeout(() => this.#ending.request({ exitCode: ExitCode.TIMEOUT, message }), timeoutSeconds * 1000);
  }

  /** The exit code for an end, and the lines that explain it. */
  #judge(end: RunEnd): { exitCode: number; lines: string[] } {
    const cause = this.#ending.cause;
    const { reason } = end;
    if (cause) return { exitCode: cause.exitCode, lines: cause.message ? [cause.message] : [] };
    const report = end.report?.trimEnd().split('\n');
    switch (reason.kind) {
      case 'poweroff':
        if (!this.#expect) return { exitCode: ExitCode.OK, lines: ['the guest powered off'] };
        return { exitCode: ExitCode.NOT_EXPECTED, lines: ['the guest powered off before the expected text appeared'] };
      case 'reboot':
        return { exitCode: ExitCode.REBOOT, lines: ['the guest rebooted'] };
      case 'crash':
        return { exitCode: ExitCode.GUEST_CRASH, lines: report ?? [`guest crashed: ${reason.message}`] };
      case 'watchdog':
        return { exitCode: ExitCode.GUEST_CRASH, lines: report ?? ['guest crashed: its watchdog expired'] };
      case 'suspend':
        return { exitCode: ExitCode.SUSPENDED, lines: ['the guest suspended itself'] };
      case 'softReset':
        return { exitCode: ExitCode.SUSPENDED, lines: ['the guest asked for a soft reset, which nobody handles'] };
      case 'testsDone':
        return {
          exitCode: reason.status === 0 ? ExitCode.OK : ExitCode.TESTS_FAILED,
          lines: [`the guest's tests ended with status ${reason.status}`],
        };
      case 'stopped':
        return { exitCode: ExitCode.INTERNAL, lines: ['the machine stopped, but nobody had asked for it'] };
    }
  }

  /** Writes the flame graph; answers the table. */
  #profileLines(): string[] {
    const sink = this.#sinks.profile;
    if (!sink || !this.#profile) return [];
    sink.write(this.#profile, this.#guest.image.name);
    return sink.table(this.#profile);
  }

  #functionLines(): string[] {
    const { functions } = this.#sinks;
    if (!functions || !this.#functions) return [];
    functions.write(this.#functions.functions);
    return [`functions: ${this.#functions.functions.length} have run, in ${functions.path}`];
  }

  #statsLines(machine: RunnableMachine, plugins: PluginRegistry): string[] {
    if (!this.#options.stats) return [];
    const elapsedSeconds = (performance.now() - this.#startMs) / 1000;
    return formatStats(machine.stats(), plugins.counters(), elapsedSeconds).split('\n');
  }
}
