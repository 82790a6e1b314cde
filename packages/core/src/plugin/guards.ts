import type { HookFacade, HostHooks, Vcpu } from '@polyvisor/plugin-api';
import { checkedNothing, type TapPlace } from './answers.ts';
import { isCoded, messageOf, PluginFailure, refusal } from './codes.ts';
import { hookTable } from './hook-table.ts';
import type { Uses } from './uses.ts';

const hooksBeforeTheGuest: readonly string[] = ['findEntries', 'configure', 'boot'];

/** A tap that has been checked and waits until its plug-in's `apply` has come through. */
export interface StagedTap {
  /** Shows the tap what it missed. */
  replay(): void;
  /** From here on the hook calls it. */
  connect(): void;
}

/** Called for each tap, in order; throws to refuse. */
export type Submit = (tap: StagedTap) => void;
export type TapFunction<Args extends unknown[], Result> = (...args: Args) => Result;

/** Checks the tap itself, then hands what `stage` makes of it to the plug-in's host. */
export function facade<Args extends unknown[], Result>(
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

export function guarded<Args extends unknown[], Result>(
  uses: Uses,
  place: TapPlace,
  fn: TapFunction<Args, Result>,
  rip: (...args: Args) => bigint | undefined = () => undefined,
): TapFunction<Args, Result> {
  return (...args) => {
    try {
      return uses.as(place.plugin, () => fn(...args));
    } catch (error) {
      throw failure(place, error, rip(...args));
    }
  };
}

export function guardedVoid<Args extends unknown[]>(
  uses: Uses,
  place: TapPlace,
  fn: TapFunction<Args, void>,
  rip?: (...args: Args) => bigint | undefined,
): TapFunction<Args, void> {
  return guarded(uses, place, (...args: Args) => checkedNothing(place, fn(...args)), rip);
}

/**
 * Told with plug-in, hook and RIP. Before the guest runs, a plug-in's own coded refusal (an image that it
 * cannot start, too little memory) speaks for itself.
 */
export function failure(place: TapPlace, error: unknown, rip: bigint | undefined): Error {
  if (error instanceof PluginFailure) return error;
  const coded = isCoded(error);
  if (coded && hooksBeforeTheGuest.includes(place.hook)) return error;
  const what = coded ? `${error.code}: ${error.message}` : messageOf(error);
  return new PluginFailure('PV1014', rip === undefined ? place : { ...place, rip }, what, error);
}

export function lateRefusal({ plugin, hook }: TapPlace): Error {
  const { late } = hookTable[hook as keyof HostHooks];
  const fix = 'load the plug-in before the guest is started';
  return refusal('PV1013', `plug-in ${plugin} taps hook ${hook} late, which is ${late}`, { late: fix });
}

export function ripOf(vcpu: Vcpu): bigint {
  return vcpu.rip;
}
