import { API_VERSION, OPS_OBJECT_API_VERSIONS, type OpsManifest, type TypescriptOps } from '@polyvisor/plugin-api';
import type { LiveSlots } from './live-slots.ts';
import { checkModule } from './manifest.ts';
import type { OpChoice } from './model.ts';
import type { Implementation, LoadedOps, LoadOptions } from './module.ts';
import type { OpCode } from './op-code.ts';
import { opsFor, type PlannedOp, planInstall } from './plan.ts';
import type { RunningKernel } from './running-kernel.ts';

/** A module, whichever its kind, fitted to the kernel's slots. */
export interface Fitted {
  readonly manifest: OpsManifest;
  readonly kind: LoadedOps['kind'];
  readonly plan: readonly PlannedOp<Implementation>[];
  readonly needless: readonly string[];
  readonly sharesState: boolean;
}

export type Choices = Readonly<Record<string, OpChoice<Implementation>>>;

interface FitParts {
  readonly kernel: RunningKernel;
  readonly slots: LiveSlots;
  readonly code: OpCode;
  readonly loaded: () => readonly LoadedOps[];
}

/** What modules make of the slots of one kernel; nothing in the guest is touched. */
export class ModuleFit {
  readonly #parts: FitParts;

  constructor(parts: FitParts) {
    this.#parts = parts;
  }

  choices(module: TypescriptOps): Choices {
    const ops = Object.entries(opsFor(this.#parts.kernel.ops.all, module)).map(
      ([slot, op]): [string, OpChoice<Implementation>] => [
        slot,
        typeof op === 'string' ? op : { kind: 'own', implementation: op },
      ],
    );
    return Object.fromEntries(ops);
  }

  /** Throws what `checkModule` throws. */
  check(
    manifest: OpsManifest,
    kind: LoadedOps['kind'],
    slots: readonly string[],
    { force = false }: LoadOptions = {},
  ): void {
    const apiVersions = kind === 'guestCode' ? OPS_OBJECT_API_VERSIONS : [API_VERSION];
    const { kernel, loaded } = this.#parts;
    checkModule(manifest, slots, { wordBytes: kernel.wordBytes, loaded: loaded(), force, apiVersions });
  }

  /** Throws PV5001. */
  checkSlots(manifest: OpsManifest, slots: readonly string[]): void {
    this.#named(manifest, Object.fromEntries(slots.map((slot) => [slot, 'native'])));
  }

  /** Throws PV5001 (no such slot), PV5002 (strict, and it forgets some), what `checkModule` throws and what an operation's code throws. */
  fit(manifest: OpsManifest, kind: LoadedOps['kind'], ops: Choices, options: LoadOptions): Fitted {
    this.check(manifest, kind, Object.keys(ops), options);
    const { name, version, api, guest } = manifest;
    const named = this.#named(manifest, ops, options.mode);
    const isNeedless = new Map(named.map((planned) => [planned, this.#isNeedless(planned)]));
    const plan = named.filter((planned) => !isNeedless.get(planned));
    const needless = named.filter((planned) => isNeedless.get(planned)).map(({ slot }) => slot.name);
    const sharesState = plan.some(
      (planned) => planned.state === 'own' && this.#parts.code.sharesState(planned.implementation),
    );
    return { manifest: { name, version, api, guest }, kind, plan, needless, sharesState };
  }

  /** The slots that a module is going to have. Throws what {@link fit} throws. */
  slotsOf(module: TypescriptOps): readonly string[] {
    const { plan } = this.fit(module, 'typescript', this.choices(module), { force: true });
    return plan.map(({ slot }) => slot.name);
  }

  #named({ name, version }: OpsManifest, ops: Choices, mode: LoadOptions['mode'] = 'overlay') {
    const { ops: all } = planInstall(this.#parts.kernel.ops.all, { name, version, ops }, mode);
    return all.filter(({ state }) => state !== 'forgotten');
  }
  #isNeedless(planned: PlannedOp<Implementation>): boolean {
    const { code, slots } = this.#parts;
    return code.isNeedless(planned, slots.byName(planned.slot.name));
  }
}
