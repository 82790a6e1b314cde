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
import { HookMap, SyncBailHook, SyncHook } from 'tapable';
import type { PluginCalls } from '../ports/plugin-calls.ts';
import { checkedExitAnswer, checkedNothing, checkedSearch, checkedTrue, type TapPlace } from './answers.ts';
import { isCoded, messageOf, PluginFailure, refusal } from './codes.ts';
import { hookTable } from './hook-table.ts';

const hooksBeforeTheGuest: readonly string[] = ['findEntries', 'configure', 'boot'];

/** Stage of the machine's own taps; those of plug-ins are at tapable's 0. */
const AFTER_PLUGINS = 1;

/** A tap that has been checked and waits until its plug-in's `apply` has come through. */
export interface StagedTap {
  /** Shows the tap what it missed. */
  replay(): void;
  /** From here on the hook calls it. */
  connect(): void;
}

/** Called for each tap, in order; throws to refuse. */
type Submit = (tap: StagedTap) => void;
type TapFunction<Args extends unknown[], Result> = (...args: Args) => Result;

/** The tapable hooks, what they have been called with so far, and the machine's side of them. */
export class HookSet implements PluginCalls {
  readonly #findEntries = new SyncHook<[GuestImage, EntrySearch[]]>(['image', 'searches']);
  readonly #configure = new SyncHook<[PlatformDefinition]>(['platform']);
  readonly #boot = new SyncBailHook<[BootRequest, Machine], true | undefined>(['request', 'machine']);
  readonly #vcpuCreate = new SyncHook<[Vcpu]>(['vcpu']);
  readonly #vcpuSwitch = new SyncHook<[Vcpu | undefined, Vcpu]>(['from', 'to']);
  readonly #vcpuTerminate = new SyncHook<[Vcpu]>(['vcpu']);
  readonly #exit = new HookMap(() => new SyncBailHook<[Vcpu, Exit], ExitAnswer | undefined>(['vcpu', 'exit']));
  readonly #beforeEntry = new SyncHook<[Vcpu]>(['vcpu']);
  readonly #requestPoweroff = new SyncBailHook<[], true | undefined>([]);
  readonly #shutdown = new SyncHook<[ShutdownReason]>(['reason']);

  // What a late tap has missed.
  readonly #searched = new Map<GuestImage, EntrySearch[]>();
  readonly #live = new Set<Vcpu>();
  #configured = false;
  #booted = false;
  #current: Vcpu | undefined;
  #ended: ShutdownReason | undefined;
  readonly #listeners: (() => void)[] = [];

  has(hook: 'exit' | 'beforeEntry' | 'vcpuSwitch', kind?: ExitKind): boolean {
    if (hook === 'beforeEntry') return this.#beforeEntry.isUsed();
    if (hook === 'vcpuSwitch') return this.#vcpuSwitch.isUsed();
    return kind !== undefined && (this.#exit.get(kind)?.isUsed() ?? false);
  }
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  findEntries(image: GuestImage): EntrySearch {
    let searches = this.#searched.get(image);
    if (!searches) {
      searches = [];
      this.#findEntries.call(image, searches);
      this.#searched.set(image, searches);
    }
    return {
      entries: searches.flatMap((search) => search.entries),
      closed: searches.flatMap((search) => search.closed ?? []),
      missing: searches.flatMap((search) => search.missing),
    };
  }
  configure(platform: PlatformDefinition): void {
    this.#configured = true;
    this.#configure.call(platform);
  }
  boot(request: BootRequest, machine: Machine): boolean {
    this.#booted = true;
    return this.#boot.call(request, machine) === true;
  }
  vcpuCreate(vcpu: Vcpu): void {
    this.#live.add(vcpu);
    this.#vcpuCreate.call(vcpu);
  }
  vcpuSwitch(from: Vcpu | undefined, to: Vcpu): void {
    this.#current = to;
    this.#vcpuSwitch.call(from, to);
  }
  vcpuTerminate(vcpu: Vcpu): void {
    this.#live.delete(vcpu);
    if (this.#current === vcpu) this.#current = undefined;
    this.#vcpuTerminate.call(vcpu);
  }
  exit(kind: ExitKind, vcpu: Vcpu, exit: Exit): ExitAnswer {
    return this.#exit.get(kind)?.call(vcpu, exit) ?? 'pass';
  }
  tapExit<K extends ExitKind>(kind: K, name: string, fn: (vcpu: Vcpu, exit: ExitOf<K>) => ExitAnswer): void {
    const call = (vcpu: Vcpu, exit: Exit) => {
      const answer = fn(vcpu, exit as ExitOf<K>);
      return answer === 'pass' ? undefined : answer;
    };
    this.#changed(() => this.#exit.for(kind).tap({ name, stage: AFTER_PLUGINS }, call));
  }
  beforeEntry(vcpu: Vcpu): void {
    this.#beforeEntry.call(vcpu);
  }
  requestPoweroff(): boolean {
    return this.#requestPoweroff.call() === true;
  }
  shutdown(reason: ShutdownReason): void {
    this.#ended = reason;
    this.#shutdown.call(reason);
  }

  /** One plug-in's view: hooks without `call`. `submit` gets each tap once it has been checked. */
  facadeFor(plugin: string, submit: Submit): HostHooks {
    return Object.freeze({
      ...this.#machineFacades(plugin, submit),
      ...this.#vcpuFacades(plugin, submit),
      exit: Object.freeze({ for: (kind: ExitKind) => this.#exitFacade(plugin, kind, submit) as never }),
    });
  }

  #machineFacades(
    plugin: string,
    submit: Submit,
  ): Pick<HostHooks, 'findEntries' | 'configure' | 'boot' | 'requestPoweroff' | 'shutdown'> {
    return {
      findEntries: facade(plugin, 'findEntries', submit, (place, fn: TapFunction<[GuestImage], EntrySearch>) => {
        const search = guarded(place, (image: GuestImage) => checkedSearch(place, fn(image)));
        const missed: (() => void)[] = [];
        return {
          replay: () => {
            for (const [image, searches] of this.#searched) {
              const found = search(image);
              missed.push(() => searches.push(found));
            }
          },
          connect: () => {
            for (const add of missed) add();
            this.#findEntries.tap(place.plugin, (image, searches) => void searches.push(search(image)));
          },
        };
      }),
      configure: facade(plugin, 'configure', submit, (place, fn: TapFunction<[PlatformDefinition], void>) => {
        if (this.#configured) throw lateRefusal(place);
        return { replay() {}, connect: () => this.#configure.tap(place.plugin, guardedVoid(place, fn)) };
      }),
      boot: facade(plugin, 'boot', submit, (place, fn: TapFunction<[BootRequest, Machine], true | undefined>) => {
        if (this.#booted) throw lateRefusal(place);
        const boot = guarded(
          place,
          (request: BootRequest, machine: Machine) => checkedTrue(place, fn(request, machine)),
          (_request, machine) => machine.vcpus[0]?.rip,
        );
        return { replay() {}, connect: () => this.#boot.tap(place.plugin, boot) };
      }),
      requestPoweroff: facade(plugin, 'requestPoweroff', submit, (place, fn: TapFunction<[], true | undefined>) => {
        const call = guarded(
          place,
          () => checkedTrue(place, fn()),
          () => this.#current?.rip,
        );
        return { replay() {}, connect: () => this.#requestPoweroff.tap(place.plugin, call) };
      }),
      shutdown: facade(plugin, 'shutdown', submit, (place, fn: TapFunction<[ShutdownReason], void>) => {
        const call = guardedVoid(place, fn, () => this.#current?.rip);
        return {
          replay: () => this.#ended && call(this.#ended),
          connect: () => this.#shutdown.tap(place.plugin, call),
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
        const call = guardedVoid(place, fn, ripOf);
        return {
          replay: () => {
            for (const vcpu of this.#live) call(vcpu);
          },
          connect: () => this.#vcpuCreate.tap(place.plugin, call),
        };
      }),
      vcpuSwitch: facade(plugin, 'vcpuSwitch', submit, (place, fn: OnSwitch) => {
        const call = guardedVoid(place, fn, (_from, to) => to.rip);
        return {
          replay: () => this.#current && call(undefined, this.#current),
          connect: () => this.#changed(() => this.#vcpuSwitch.tap(place.plugin, call)),
        };
      }),
      vcpuTerminate: facade(plugin, 'vcpuTerminate', submit, (place, fn: OnVcpu) => ({
        replay() {},
        connect: () => this.#vcpuTerminate.tap(place.plugin, guardedVoid(place, fn, ripOf)),
      })),
      beforeEntry: facade(plugin, 'beforeEntry', submit, (place, fn: OnVcpu) => {
        // Written out rather than through guarded(): called at every entry.
        const call = (vcpu: Vcpu) => {
          try {
            const answer: unknown = fn(vcpu);
            if (answer !== undefined) checkedNothing(place, answer);
          } catch (error) {
            throw failure(place, error, vcpu.rip);
          }
        };
        return { replay() {}, connect: () => this.#changed(() => this.#beforeEntry.tap(place.plugin, call)) };
      }),
    };
  }

  #exitFacade(plugin: string, kind: ExitKind, submit: Submit): HookFacade<[Vcpu, Exit], ExitAnswer> {
    return facade(plugin, `exit.${kind}`, submit, (place, fn: TapFunction<[Vcpu, Exit], ExitAnswer>) => {
      // Written out rather than through guarded(): called on every exit.
      const call = (vcpu: Vcpu, exit: Exit) => {
        try {
          const answer = fn(vcpu, exit);
          if (answer === 'handled') return answer;
          return answer === 'pass' ? undefined : checkedExitAnswer(place, answer, vcpu.rip);
        } catch (error) {
          throw failure(place, error, vcpu.rip);
        }
      };
      return { replay() {}, connect: () => this.#changed(() => this.#exit.for(kind).tap(place.plugin, call)) };
    });
  }

  #changed(connect: () => void): void {
    connect();
    for (const listener of this.#listeners) listener();
  }
}

/** Checks the tap itself, then hands what `stage` makes of it to the plug-in's host. */
function facade<Args extends unknown[], Result>(
  plugin: string,
  hook: string,
  submit: Submit,
  stage: (place: TapPlace, fn: TapFunction<Args, Result>) => StagedTap,
): HookFacade<Args, Result> {
  return Object.freeze({
    tap(name: string, fn: TapFunction<Args, Result>) {
      if (typeof fn !== 'function') {
        throw refusal('PV1017', `plug-in ${plugin} taps hook ${hook} with a ${typeof fn}`, { plugin });
      }
      submit(stage({ plugin, hook, tap: String(name) }, fn));
    },
  });
}

function guarded<Args extends unknown[], Result>(
  place: TapPlace,
  fn: TapFunction<Args, Result>,
  rip: (...args: Args) => bigint | undefined = () => undefined,
): TapFunction<Args, Result> {
  return (...args) => {
    try {
      return fn(...args);
    } catch (error) {
      throw failure(place, error, rip(...args));
    }
  };
}

function guardedVoid<Args extends unknown[]>(
  place: TapPlace,
  fn: TapFunction<Args, void>,
  rip?: (...args: Args) => bigint | undefined,
): TapFunction<Args, void> {
  return guarded(place, (...args: Args) => checkedNothing(place, fn(...args)), rip);
}

/**
 * Told with plug-in, hook and RIP. Before the guest runs, a plug-in's own coded refusal (an image that it
 * cannot start, too little memory) speaks for itself.
 */
function failure(place: TapPlace, error: unknown, rip: bigint | undefined): Error {
  if (error instanceof PluginFailure) return error;
  const coded = isCoded(error);
  if (coded && hooksBeforeTheGuest.includes(place.hook)) return error;
  const what = coded ? `${error.code}: ${error.message}` : messageOf(error);
  return new PluginFailure('PV1014', rip === undefined ? place : { ...place, rip }, what, error);
}

function lateRefusal({ plugin, hook }: TapPlace): Error {
  const { late } = hookTable[hook as keyof HostHooks];
  const fix = 'load the plug-in before the guest is started';
  return refusal('PV1013', `plug-in ${plugin} taps hook ${hook} too late: ${late}`, { late: fix });
}

function ripOf(vcpu: Vcpu): bigint {
  return vcpu.rip;
}
