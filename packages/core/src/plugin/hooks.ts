import type {
  BootRequest,
  EntrySearch,
  Exit,
  ExitAnswer,
  ExitKind,
  ExitOf,
  GuestImage,
  HookFacade,
  HostHooks,
  Machine,
  PlatformDefinition,
  ShutdownReason,
  Vcpu,
} from '@polyvisor/plugin-api';
import { SyncBailHook, SyncHook } from 'tapable';
import type { PluginCalls } from '../ports/plugin-calls.ts';
import { checkedExitAnswer, checkedNothing, checkedSearch, checkedTrue, checkedUses } from './answers.ts';
import { facade, failure, guarded, guardedVoid, lateRefusal, ripOf, type Submit, type TapFunction } from './guards.ts';
import { TapList } from './tap-list.ts';
import { Uses } from './uses.ts';

const exitTaps = () => new TapList(() => new SyncBailHook<[Vcpu, Exit], ExitAnswer | undefined>(['vcpu', 'exit']));

interface Search {
  readonly plugin: string;
  readonly search: EntrySearch;
}

/** Of a platform, what `configure` may change. */
function shapeOf({ chips, memoryBytes, overheadBytes, roomForOps, vcpus, mostVcpus }: PlatformDefinition): string {
  return [[...chips].sort().join(), memoryBytes, overheadBytes, roomForOps, vcpus, mostVcpus].join(' ');
}

/** The tapable hooks, what they have been called with so far, and the machine's side of them. */
export class HookSet implements PluginCalls {
  readonly #findEntries = new TapList(() => new SyncHook<[GuestImage, Search[]]>(['image', 'searches']));
  readonly #configure = new TapList(() => new SyncHook<[PlatformDefinition]>(['platform']));
  readonly #boot = new TapList(
    () => new SyncBailHook<[BootRequest, Machine], true | undefined>(['request', 'machine']),
  );
  readonly #vcpuCreate = new TapList(() => new SyncHook<[Vcpu]>(['vcpu']));
  readonly #vcpuSwitch = new TapList(() => new SyncHook<[Vcpu | undefined, Vcpu]>(['from', 'to']));
  readonly #vcpuTerminate = new TapList(() => new SyncHook<[Vcpu]>(['vcpu']));
  readonly #exit = new Map<ExitKind, ReturnType<typeof exitTaps>>();
  readonly #beforeEntry = new TapList(() => new SyncHook<[Vcpu]>(['vcpu']));
  readonly #requestPoweroff = new TapList(() => new SyncBailHook<[], true | undefined>([]));
  readonly #shutdown = new TapList(() => new SyncHook<[ShutdownReason]>(['reason']));
  // Of each plug-in its own, which are called for it alone.
  readonly #inUse = new Map<string, (() => readonly string[])[]>();
  readonly #removed = new Map<string, (() => void)[]>();
  readonly #uses = new Uses();

  // What a late tap has missed.
  readonly #searched = new Map<GuestImage, Search[]>();
  readonly #live = new Set<Vcpu>();
  #configured = false;
  #request: BootRequest | undefined;
  #current: Vcpu | undefined;
  #ended: ShutdownReason | undefined;
  readonly #listeners: (() => void)[] = [];

  has(hook: 'exit' | 'beforeEntry' | 'vcpuSwitch', kind?: ExitKind): boolean {
    if (hook === 'beforeEntry') return this.#beforeEntry.hook.isUsed();
    if (hook === 'vcpuSwitch') return this.#vcpuSwitch.hook.isUsed();
    return kind !== undefined && (this.#exit.get(kind)?.hook.isUsed() ?? false);
  }
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }
  took(what: string): void {
    this.#uses.took(what);
  }

  findEntries(image: GuestImage): EntrySearch {
    let searches = this.#searched.get(image);
    if (!searches) {
      searches = [];
      this.#findEntries.hook.call(image, searches);
      this.#searched.set(image, searches);
    }
    return {
      entries: searches.flatMap(({ search }) => search.entries),
      closed: searches.flatMap(({ search }) => search.closed ?? []),
      missing: searches.flatMap(({ search }) => search.missing),
    };
  }
  configure(platform: PlatformDefinition): void {
    this.#configured = true;
    this.#configure.hook.call(platform);
  }
  boot(request: BootRequest, machine: Machine): boolean {
    this.#request = request;
    return this.#boot.hook.call(request, machine) === true;
  }
  vcpuCreate(vcpu: Vcpu): void {
    this.#live.add(vcpu);
    this.#vcpuCreate.hook.call(vcpu);
  }
  vcpuSwitch(from: Vcpu | undefined, to: Vcpu): void {
    this.#current = to;
    this.#vcpuSwitch.hook.call(from, to);
  }
  vcpuTerminate(vcpu: Vcpu): void {
    this.#live.delete(vcpu);
    if (this.#current === vcpu) this.#current = undefined;
    this.#vcpuTerminate.hook.call(vcpu);
  }
  exit(kind: ExitKind, vcpu: Vcpu, exit: Exit): ExitAnswer {
    return this.#exit.get(kind)?.hook.call(vcpu, exit) ?? 'pass';
  }
  tapExit<K extends ExitKind>(kind: K, name: string, fn: (vcpu: Vcpu, exit: ExitOf<K>) => ExitAnswer): void {
    const call = (vcpu: Vcpu, exit: Exit) => {
      const answer = fn(vcpu, exit as ExitOf<K>);
      return answer === 'pass' ? undefined : answer;
    };
    this.#changed(() => this.#exitTaps(kind).tapLast(name, call));
  }
  beforeEntry(vcpu: Vcpu): void {
    this.#beforeEntry.hook.call(vcpu);
  }
  requestPoweroff(): boolean {
    return this.#requestPoweroff.hook.call() === true;
  }
  shutdown(reason: ShutdownReason): void {
    this.#ended = reason;
    this.#shutdown.hook.call(reason);
  }

  /** Whose tap is being called; `undefined`: nobody's. */
  get acting(): string | undefined {
    return this.#uses.acting;
  }
  get hasEnded(): boolean {
    return this.#ended !== undefined;
  }
  /** The guest that runs; `undefined`: none, or it has ended. */
  get guest(): string | undefined {
    return this.hasEnded ? undefined : this.#request?.image.name;
  }
  /**
   * What the guest uses of a plug-in, in words. Answers to exits count unless the plug-in says itself what is in use.
   * @throws PluginFailure of a plug-in that fails to say so
   */
  usesOf(plugin: string): readonly string[] {
    if (this.guest === undefined) return [];
    const { entry } = this.#request as BootRequest;
    const door = entry.plugin === plugin ? [`its door ${entry.name} (${entry.abi})`] : [];
    const said = this.#inUse.get(plugin)?.flatMap((ask) => ask());
    return [...door, ...this.#uses.of(plugin), ...(said ?? this.#uses.answersOf(plugin))];
  }

  /** Nothing of it is called from now on, but, last, its taps of `removed`; answers what these throw. */
  remove(plugin: string): Error[] {
    this.#changed(() => {
      const lists = [this.#findEntries, this.#configure, this.#boot, this.#vcpuCreate, this.#vcpuSwitch];
      const others = [this.#vcpuTerminate, this.#beforeEntry, this.#requestPoweroff, this.#shutdown];
      for (const list of [...lists, ...others, ...this.#exit.values()]) list.remove(plugin);
    });
    for (const [image, searches] of this.#searched) {
      this.#searched.set(
        image,
        searches.filter((search) => search.plugin !== plugin),
      );
    }
    const farewells = this.#removed.get(plugin) ?? [];
    this.#removed.delete(plugin);
    this.#inUse.delete(plugin);
    this.#uses.forget(plugin);
    return farewells.flatMap((farewell) => {
      try {
        farewell();
        return [];
      } catch (error) {
        return [error as Error];
      }
    });
  }

  /** One plug-in's view: hooks without `call`. `submit` gets each tap once it has been checked. */
  facadeFor(plugin: string, submit: Submit): HostHooks {
    return Object.freeze({
      ...this.#machineFacades(plugin, submit),
      ...this.#vcpuFacades(plugin, submit),
      ...this.#ownFacades(plugin, submit),
      exit: Object.freeze({ for: (kind: ExitKind) => this.#exitFacade(plugin, kind, submit) as never }),
    });
  }

  #machineFacades(
    plugin: string,
    submit: Submit,
  ): Pick<HostHooks, 'findEntries' | 'configure' | 'boot' | 'requestPoweroff' | 'shutdown'> {
    return {
      findEntries: facade(plugin, 'findEntries', submit, (place, fn: TapFunction<[GuestImage], EntrySearch>) => {
        const search = guarded(this.#uses, place, (image: GuestImage) => checkedSearch(place, fn(image)));
        const missed: (() => void)[] = [];
        return {
          replay: () => {
            for (const [image, searches] of this.#searched) {
              const found = search(image);
              missed.push(() => searches.push({ plugin, search: found }));
            }
          },
          connect: () => {
            for (const add of missed) add();
            this.#findEntries.tap(plugin, (image, searches) => void searches.push({ plugin, search: search(image) }));
          },
        };
      }),
      configure: facade(plugin, 'configure', submit, (place, fn: TapFunction<[PlatformDefinition], void>) => {
        if (this.#configured) throw lateRefusal(place);
        const configure = guardedVoid(this.#uses, place, (platform: PlatformDefinition) => {
          const before = shapeOf(platform);
          const answer = fn(platform);
          if (shapeOf(platform) !== before) this.#uses.took('its changes of the platform');
          return answer;
        });
        return { replay() {}, connect: () => this.#configure.tap(plugin, configure) };
      }),
      boot: facade(plugin, 'boot', submit, (place, fn: TapFunction<[BootRequest, Machine], true | undefined>) => {
        if (this.#request) throw lateRefusal(place);
        const boot = guarded(
          this.#uses,
          place,
          (request: BootRequest, machine: Machine) => {
            this.#uses.given(plugin);
            const answer = checkedTrue(place, fn(request, machine));
            if (answer) this.#uses.took('its boot of the image');
            return answer;
          },
          (_request, machine) => machine.vcpus[0]?.rip,
        );
        return { replay() {}, connect: () => this.#boot.tap(plugin, boot) };
      }),
      requestPoweroff: facade(plugin, 'requestPoweroff', submit, (place, fn: TapFunction<[], true | undefined>) => {
        const call = guarded(
          this.#uses,
          place,
          () => checkedTrue(place, fn()),
          () => this.#current?.rip,
        );
        return { replay() {}, connect: () => this.#requestPoweroff.tap(plugin, call) };
      }),
      shutdown: facade(plugin, 'shutdown', submit, (place, fn: TapFunction<[ShutdownReason], void>) => {
        const call = guardedVoid(this.#uses, place, fn, () => this.#current?.rip);
        return {
          replay: () => this.#ended && call(this.#ended),
          connect: () => this.#shutdown.tap(plugin, call),
        };
      }),
    };
  }

  #vcpuFacades(
    plugin: string,
    submit: Submit,
  ): Pick<HostHooks, 'vcpuCreate' | 'vcpuSwitch' | 'vcpuTerminate' | 'beforeEntry'> {
    type OnVcpu = TapFunction<[Vcpu], void>;
    type OnSwitch = TapFunction<[Vcpu | undefined, Vcpu], void>;
    return {
      vcpuCreate: facade(plugin, 'vcpuCreate', submit, (place, fn: OnVcpu) => {
        const call = guardedVoid(this.#uses, place, fn, ripOf);
        return {
          replay: () => {
            for (const vcpu of this.#live) call(vcpu);
          },
          connect: () => this.#vcpuCreate.tap(plugin, call),
        };
      }),
      vcpuSwitch: facade(plugin, 'vcpuSwitch', submit, (place, fn: OnSwitch) => {
        const call = guardedVoid(this.#uses, place, fn, (_from, to) => to.rip);
        return {
          replay: () => this.#current && call(undefined, this.#current),
          connect: () => this.#changed(() => this.#vcpuSwitch.tap(plugin, call)),
        };
      }),
      vcpuTerminate: facade(plugin, 'vcpuTerminate', submit, (place, fn: OnVcpu) => ({
        replay() {},
        connect: () => this.#vcpuTerminate.tap(plugin, guardedVoid(this.#uses, place, fn, ripOf)),
      })),
      beforeEntry: facade(plugin, 'beforeEntry', submit, (place, fn: OnVcpu) => {
        const uses = this.#uses;
        // Written out rather than through guarded(): called at every entry.
        const call = (vcpu: Vcpu) => {
          const before = uses.acting;
          uses.acting = plugin;
          try {
            const answer: unknown = fn(vcpu);
            if (answer !== undefined) checkedNothing(place, answer);
          } catch (error) {
            throw failure(place, error, vcpu.rip);
          } finally {
            uses.acting = before;
          }
        };
        return { replay() {}, connect: () => this.#changed(() => this.#beforeEntry.tap(plugin, call)) };
      }),
    };
  }

  #exitFacade(plugin: string, kind: ExitKind, submit: Submit): HookFacade<[Vcpu, Exit], ExitAnswer> {
    return facade(plugin, `exit.${kind}`, submit, (place, fn: TapFunction<[Vcpu, Exit], ExitAnswer>) => {
      const uses = this.#uses;
      let hasAnswered = false;
      // Written out rather than through guarded(): called on every exit.
      const call = (vcpu: Vcpu, exit: Exit) => {
        const before = uses.acting;
        uses.acting = plugin;
        try {
          const answer = fn(vcpu, exit);
          if (answer === 'pass') return undefined;
          if (!hasAnswered) {
            hasAnswered = true;
            uses.answered(plugin, kind);
          }
          return answer === 'handled' ? answer : checkedExitAnswer(place, answer, vcpu.rip);
        } catch (error) {
          throw failure(place, error, vcpu.rip);
        } finally {
          uses.acting = before;
        }
      };
      return { replay() {}, connect: () => this.#changed(() => this.#exitTaps(kind).tap(plugin, call)) };
    });
  }

  #exitTaps(kind: ExitKind): ReturnType<typeof exitTaps> {
    const taps = this.#exit.get(kind) ?? exitTaps();
    this.#exit.set(kind, taps);
    return taps;
  }

  /** What is asked of one plug-in, for itself. */
  #ownFacades(plugin: string, submit: Submit): Pick<HostHooks, 'inUse' | 'removed'> {
    const add = <Fn>(to: Map<string, Fn[]>, fn: Fn) => to.set(plugin, [...(to.get(plugin) ?? []), fn]);
    return {
      inUse: facade(plugin, 'inUse', submit, (place, fn: TapFunction<[], readonly string[]>) => {
        const call = guarded(
          this.#uses,
          place,
          () => checkedUses(place, fn()),
          () => this.#current?.rip,
        );
        return { replay() {}, connect: () => add(this.#inUse, call) };
      }),
      removed: facade(plugin, 'removed', submit, (place, fn: TapFunction<[], void>) => {
        const call = guardedVoid(this.#uses, place, fn, () => this.#current?.rip);
        return { replay() {}, connect: () => add(this.#removed, call) };
      }),
    };
  }

  #changed(connect: () => void): void {
    connect();
    for (const listener of this.#listeners) listener();
  }
}
