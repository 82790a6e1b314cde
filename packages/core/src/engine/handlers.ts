import type { DirectCode } from '@polyvisor/plugin-api';
import { Builder, type DirectPrograms } from '../ir/builder.ts';
import { type FlagUse, flagUse } from '../ir/flag-use.ts';
import type { Block, Program } from '../ir/types.ts';
import { decode } from '../isa/decoder.ts';
import { BuilderCode } from '../isa/direct-code.ts';
import type { CpuMode } from '../isa/modes.ts';
import { buildEventEntry, type EntryMode } from '../isa/semantics/event-entry.ts';
import type { InstructionShape } from '../isa/types.ts';
import type { HandlerChoice } from './code-cache.ts';
import type { CodeKeeper } from './code-keeper.ts';
import {
  buildHandlers,
  HANDLER_TABLE_SIZE,
  type InlineHandler,
  type InterpreterOptions,
  interpreterKey,
  ProfileLayout,
  type TableHandler,
} from './interpreter.ts';
import type { EngineMemory } from './memory.ts';
import { FIRST_HANDLER } from './record.ts';

/** No run needs more: two handlers for each of its instructions. */
const HANDLERS_PER_RUN = 404;

/** So many handlers of a mode's code have been compiled when those that are common in it are. */
const COMMON_AFTER = 32;

/** Instructions to compile together, once some others of their mode have been: see common.ts. */
export type CommonInstructions = Readonly<Partial<Record<CpuMode, readonly string[]>>>;

/** A handler or pair of handlers, as the hot list names it, and how often it ran. */
export interface ProfiledHandler {
  readonly example: string;
  readonly key: string;
  readonly count: number;
}

export interface HandlersOptions extends Omit<InterpreterOptions, 'inline'> {
  readonly memory: EngineMemory;
  readonly directCode: DirectPrograms;
  readonly compiler: Pick<CodeKeeper, 'compile' | 'named' | 'instantiated'>;
  /** Instructions and pairs to stand inline: see hot.ts. */
  readonly hot: readonly string[];
  readonly common: CommonInstructions;
  /** Compile at most so many others before {@link Handlers.full}; default: as many as the table holds. */
  readonly maxCompiled: number | undefined;
}

/** In the hot list: two instructions that follow each other. */
const PAIR_MARK = '+';
/** In the hot list: the variant without arithmetic flags. */
const QUIET_MARK = 'q:';

/**
 * Which handler runs which instruction: inline ones in the dispatch loop, chosen beforehand; all others are compiled
 * to a function each when an instruction first needs them.
 */
export class Handlers {
  /** For the dispatch loop; numbered from FIRST_HANDLER on. */
  readonly inline: readonly InlineHandler[];
  /** All that {@link inline} depends on. */
  readonly inlineName: string;
  readonly #options: HandlersOptions;
  /** By the number of the shape. */
  readonly #choices: (Choice | undefined)[] = [];
  /** Handlers of pairs, by first × table size + second. */
  readonly #pairs = new Map<number, number>();
  #next = FIRST_HANDLER;
  /** Have a number, and no code yet. */
  #waiting: TableHandler[] = [];
  /** How many have been compiled of each mode that has common ones, until those are. */
  readonly #compiledOf = new Map<CpuMode, number>();
  readonly #firstCompiled: number;
  readonly #limit: number;
  #table: WebAssembly.Table | undefined;
  #functions: WebAssembly.ModuleImports = {};

  constructor(options: HandlersOptions) {
    this.#options = options;
    this.#awaitCommon();
    const hot = this.#hotPrograms(options.hot);
    this.inline = hot.map(({ handler }) => handler);
    this.inlineName = hot.map(({ example }) => example).join();
    this.#firstCompiled = this.#next;
    this.#limit = Math.min(HANDLER_TABLE_SIZE, this.#firstCompiled + (options.maxCompiled ?? HANDLER_TABLE_SIZE));
  }

  /** Give compiled handlers their table and the core module's functions. */
  attach(table: WebAssembly.Table, functions: WebAssembly.ModuleImports): void {
    this.#table = table;
    this.#functions = functions;
  }

  /** Number of handlers made so far. */
  get count(): number {
    return this.#next - FIRST_HANDLER;
  }
  /** No room for the handlers of one more run: {@link forgetCompiled}, after the decoded records are gone. */
  get full(): boolean {
    return this.#next > this.#limit - HANDLERS_PER_RUN;
  }
  forgetCompiled(): void {
    for (const choice of this.#all) choice.forget(this.#firstCompiled);
    this.#next = this.#firstCompiled;
    this.#waiting = [];
    this.#awaitCommon();
  }
  #awaitCommon(): void {
    for (const mode of commonModes(this.#options.common)) this.#compiledOf.set(mode, 0);
  }

  get #all(): Choice[] {
    return this.#choices.filter((choice) => choice !== undefined);
  }

  choiceFor(shape: InstructionShape): HandlerChoice {
    return this.#choiceOf(shape);
  }
  #choiceOf(shape: InstructionShape): Choice {
    return this.#choices[shape.id] ?? this.#choose(shape);
  }
  /** What has been compiled since the start that could stand in the list of common instructions. */
  compiled(examples: ReadonlyMap<InstructionShape, string>, mode: CpuMode): Omit<ProfiledHandler, 'count'>[] {
    return this.#all.flatMap((choice) => {
      const example = examples.get(choice.shape);
      if (example === undefined || choice.shape.mode !== mode) return [];
      const { key } = choice.shape;
      const both = [];
      if (choice.hasHandler && choice.handler >= this.#firstCompiled) both.push({ example, key });
      if (choice.hasQuiet && choice.quiet() >= this.#firstCompiled)
        both.push({ example: QUIET_MARK + example, key: `quiet ${key}` });
      return both;
    });
  }
  /** The handler that does both of two successive handlers' work; 0: there is none. */
  pairFor(first: number, second: number): number {
    // Pairs are made of those that stand inline.
    if (first >= this.#firstCompiled || second >= this.#firstCompiled) return 0;
    return this.#pairs.get(first * HANDLER_TABLE_SIZE + second) ?? 0;
  }

  /**
   * Handlers worth a place in the dispatch loop: single instructions first, then pairs of them. What has code of a plug-in is not among
   * them, as nothing tells that code's states apart, and the loop is to be found again in the next run.
   */
  #hotPrograms(examples: readonly string[]): HotHandler[] {
    const made: HotHandler[] = [];
    const known = new Map<string, HotInstruction | undefined>();
    const instruction = (example: string) => {
      if (!known.has(example)) known.set(example, this.#hotInstruction(example, made));
      return known.get(example);
    };
    for (const example of examples) {
      const [first, second] = example.split(PAIR_MARK).map(instruction);
      if (!first || !second) continue;
      if (!first.choice.leads)
        throw new Error(`hot list: ${example} must not begin with an instruction that stores or jumps`);
      const key = first.handler * HANDLER_TABLE_SIZE + second.handler;
      if (this.#pairs.has(key)) continue;
      this.#pairs.set(key, this.#next++);
      made.push({ example, handler: [first.program, second.program] });
    }
    return made;
  }

  /** Undefined: it has code of a plug-in. */
  #hotInstruction(example: string, made: HotHandler[]): HotInstruction | undefined {
    const quiet = example.startsWith(QUIET_MARK);
    const shape = exampleShape(quiet ? example.slice(QUIET_MARK.length) : example);
    const program = buildProgram(shape, this.#options.directCode, quiet);
    if (withPluginCode.has(program)) return undefined;
    const choice = this.#choices[shape.id] ?? this.#choose(shape, quiet ? undefined : program);
    if (!(quiet ? choice.hasQuiet : choice.hasHandler)) {
      made.push({ example, handler: [program] });
      if (quiet) choice.setQuiet(this.#next++);
      else choice.setHandler(this.#next++);
    }
    return { choice, handler: quiet ? choice.quiet() : choice.handler, program };
  }

  /** `built` is its program, if there is one already. */
  #choose(shape: InstructionShape, built?: Program): Choice {
    const { mode } = shape;
    const choice = new Choice(shape, this.#options.directCode, built, (program, quiet) => {
      const count = this.#compiledOf.get(mode);
      if (count !== undefined) this.#compiledOf.set(mode, count + 1);
      const name = (quiet ? QUIET_MARK : '') + shape.key;
      return this.#addHandler(program, withPluginCode.has(program) ? undefined : name);
    });
    this.#choices[shape.id] = choice;
    return choice;
  }

  #addHandler(program: Program, name: string | undefined): number {
    const number = this.#next++;
    if (number >= HANDLER_TABLE_SIZE) throw new Error('handler table is full');
    this.#waiting.push({ name, program, number });
    return number;
  }

  /**
   * A guest that needs many handlers needs most of these sooner or later, and some hundred modules cost much more than one.
   */
  #askForCommon(): void {
    for (const [mode, count] of this.#compiledOf) {
      const common = this.#options.common[mode] ?? [];
      const hasRoom = this.#next + common.length < this.#limit - HANDLERS_PER_RUN;
      if (count < COMMON_AFTER || !hasRoom) continue;
      this.#compiledOf.delete(mode);
      for (const example of common) this.#prepare(example, mode);
    }
  }
  #prepare(example: string, mode: CpuMode): void {
    const quiet = example.startsWith(QUIET_MARK);
    const choice = this.#choiceOf(exampleShape(quiet ? example.slice(QUIET_MARK.length) : example, mode));
    if (quiet) choice.quiet();
    else choice.prepare();
  }

  /** Compile what has been asked for; before guest code is entered. */
  compileWaiting(): void {
    if (this.#waiting.length === 0) return;
    this.#askForCommon();
    const waiting = this.#waiting;
    this.#waiting = [];
    const { compiler } = this.#options;
    const named = waiting.filter(({ name }) => name !== undefined);
    const others = waiting.filter(({ name }) => name === undefined);
    if (named.length > 0) {
      const names = named.map(({ name, number }) => `${number} ${name}`);
      const moduleName = ['handlers', interpreterKey(this.#options), ...names].join('\n');
      this.#instantiate(
        compiler.named(moduleName, () => buildHandlers(this.#options, named)),
        named,
      );
    }
    if (others.length > 0) this.#instantiate(compiler.compile(buildHandlers(this.#options, others)), others);
  }
  #instantiate(module: WebAssembly.Module, handlers: readonly TableHandler[]): void {
    const exports = this.#exportsOf(module);
    for (const { number } of handlers) this.#table?.set(number, exports[`handler${number}`] as () => unknown);
  }

  #exportsOf(module: WebAssembly.Module): WebAssembly.Exports {
    const { compiler, memory } = this.#options;
    const { exports } = new WebAssembly.Instance(module, { env: { memory: memory.memory, ...this.#functions } });
    compiler.instantiated(module, exports);
    return exports;
  }

  /**
   * What delivers the event in the fault slots (isa/semantics/event-entry.ts): answers {@link HandlerResult}, `jump` if it could. It is
   * no handler of a record.
   */
  eventEntry(mode: EntryMode): () => number {
    let entry = this.#eventEntries.get(mode);
    if (!entry) this.#eventEntries.set(mode, (entry = this.#compileEventEntry(mode)));
    return entry;
  }
  readonly #eventEntries = new Map<EntryMode, () => number>();
  /** A plug-in's code for page faults, which answers likewise; undefined: there is none. */
  get pluginPageFault(): (() => number) | undefined {
    const build = this.#options.directCode.get('pageFault');
    if (!build) return undefined;
    this.#pluginPageFault ??= this.#compilePluginPageFault(build);
    return this.#pluginPageFault;
  }
  #pluginPageFault: (() => number) | undefined;
  #compilePluginPageFault(build: (code: DirectCode) => void): () => number {
    const builder = new Builder();
    build(new BuilderCode(builder, undefined));
    return this.#entryOf(this.#options.compiler.compile(this.#entryModule(builder)));
  }
  #compileEventEntry(mode: EntryMode): () => number {
    const { compiler } = this.#options;
    const generate = () => {
      const builder = new Builder();
      buildEventEntry(builder, mode);
      return this.#entryModule(builder);
    };
    const module = compiler.named(['event entry', mode, interpreterKey(this.#options)].join('\n'), generate);
    return this.#entryOf(module);
  }
  #entryModule({ program }: Builder): Uint8Array {
    return buildHandlers(this.#options, [{ name: undefined, program, number: 0 }]);
  }
  #entryOf(module: WebAssembly.Module): () => number {
    const { handler0 } = this.#exportsOf(module) as { handler0(record: number): number };
    return () => handler0(0);
  }

  /**
   * Executions since the start, per handler and per pair of successive handlers, under the hot list's names;
   * only with the `profile` option.
   */
  profile(examples: ReadonlyMap<InstructionShape, string>): ProfiledHandler[] {
    const at = this.#options.profileAt;
    if (at === undefined) return [];
    const count = (offset: number) => this.#options.memory.view.getUint32(at + offset, true);
    const named = this.#all.flatMap((choice) => {
      const example = examples.get(choice.shape);
      if (example === undefined || choice.shape.mode !== 'long64') return [];
      const {
        leads,
        shape: { key },
      } = choice;
      const both = [];
      if (choice.hasHandler) both.push({ handler: choice.handler, example, key, leads });
      if (choice.hasQuiet)
        both.push({ handler: choice.quiet(), example: QUIET_MARK + example, key: `quiet ${key}`, leads });
      return both.filter(({ handler }) => handler < ProfileLayout.handlerLimit);
    });
    const singles = named.map(({ handler, example, key }) => ({
      example,
      key,
      count: count(ProfileLayout.handlers + handler * 4),
    }));
    const pairs = named
      .filter(({ leads }) => leads)
      .flatMap((a) =>
        named.map((b) => ({
          example: a.example + PAIR_MARK + b.example,
          key: `${a.key} + ${b.key}`,
          count: count(ProfileLayout.pairs + (a.handler * ProfileLayout.handlerLimit + b.handler) * 4),
        })),
      );
    return [...singles, ...pairs.filter((pair) => pair.count > 0)];
  }
}

function buildProgram(shape: InstructionShape, directCode: DirectPrograms, quietFlags = false): Program {
  const builder = new Builder({ quietFlags, directCode });
  shape.encoding.semantics(builder, shape);
  if (builder.hasDirectCode) withPluginCode.add(builder.program);
  return builder.program;
}
const withPluginCode = new WeakSet<Program>();

const commonModes = (common: CommonInstructions): CpuMode[] => Object.keys(common) as CpuMode[];

function exampleShape(hex: string, mode: CpuMode = 'long64'): InstructionShape {
  const bytes = Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  const result = decode((i) => (i < bytes.length ? bytes[i] : -1), mode);
  if (!result.ok) throw new Error(`lists of instructions: ${hex} does not decode`);
  return result.instruction.shape;
}

function storesIn(block: Block): boolean {
  return block.nodes.some(
    (node) =>
      node.kind === 'store' ||
      node.kind === 'storeUpdate' ||
      node.kind === 'storeReached' ||
      node.kind === 'copyReached' ||
      node.kind === 'fillReached' ||
      node.kind === 'helper' ||
      (node.kind === 'when' && (storesIn(node.then) || storesIn(node.otherwise))),
  );
}

/** A handler in the dispatch loop, and by which example of the hot list it is there. */
interface HotHandler {
  readonly example: string;
  readonly handler: InlineHandler;
}
/** What the hot list names. */
interface HotInstruction {
  readonly choice: Choice;
  readonly handler: number;
  readonly program: Program;
}

/** The handlers of a shape, compiled when they are first needed. */
class Choice implements HandlerChoice {
  readonly shape: InstructionShape;
  readonly flags: FlagUse;
  readonly branches: boolean;
  /** May be the first of a pair: it cannot overwrite the second one, and goes on to it. */
  readonly leads: boolean;
  readonly #compile: (program: Program, quiet: boolean) => number;
  #handler = 0;
  #quiet = 0;
  readonly #directCode: DirectPrograms;
  /** Its program, which the first of its handlers is made of: most shapes have one as soon as they are met. */
  #program: Program | undefined;
  constructor(
    shape: InstructionShape,
    directCode: DirectPrograms,
    built: Program | undefined,
    compile: (program: Program, quiet: boolean) => number,
  ) {
    this.shape = shape;
    this.#directCode = directCode;
    this.#compile = compile;
    const program = built ?? buildProgram(shape, directCode);
    this.#program = program;
    this.flags = flagUse(program);
    this.branches = shape.operands.some((operand) => operand.kind === 'rel');
    this.leads = !storesIn(program.body) && !shape.encoding.endsBlock;
  }
  get hasHandler(): boolean {
    return this.#handler !== 0;
  }
  get hasQuiet(): boolean {
    return this.#quiet !== 0;
  }
  /** Forget handlers numbered from `first` on. */
  forget(first: number): void {
    if (this.#handler >= first) this.#handler = 0;
    if (this.#quiet >= first) this.#quiet = 0;
  }
  setHandler(handler: number): void {
    this.#handler = handler;
    this.#program = undefined;
  }
  setQuiet(handler: number): void {
    this.#quiet = handler;
  }
  get handler(): number {
    if (this.#handler === 0) {
      this.#handler = this.#compile(this.#program ?? buildProgram(this.shape, this.#directCode), false);
      this.#program = undefined;
    }
    return this.#handler;
  }
  /** Have it compiled, if it is not. */
  prepare(): void {
    void this.handler;
  }
  quiet(): number {
    if (this.#quiet === 0) this.#quiet = this.#compile(buildProgram(this.shape, this.#directCode, true), true);
    return this.#quiet;
  }
}
