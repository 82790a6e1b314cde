import type {
  BootRequest,
  EntrySearch,
  Exit,
  ExitAnswer,
  ExitKind,
  ExitOf,
  GuestImage,
  Machine,
  PlatformDefinition,
  ShutdownReason,
  Vcpu,
} from '@polyvisor/plugin-api';

/**
 * The hooks as the machine calls them: what plug-ins tapped through their facades, compiled.
 * Every call may throw a `PolyvisorError`: a tap's own refusal, or one that names plug-in, hook and guest RIP.
 */
export interface PluginCalls {
  /** Whether any plug-in has a tap there: the first-level intercept set. */
  has(hook: 'exit', kind: ExitKind): boolean;
  has(hook: 'beforeEntry' | 'vcpuSwitch'): boolean;
  /** Called after each change of what {@link has} answers (a plug-in may tap while the guest runs). */
  onChange(listener: () => void): void;

  /**
   * A plug-in has put this before the guest, from whom it cannot be taken again: the one whose tap is being called. What
   * happens between taps counts for all that have been given the machine.
   */
  took(what: string): void;

  /** Doors and reasons of all finders, in order of loading. */
  findEntries(image: GuestImage): EntrySearch;
  configure(platform: PlatformDefinition): void;
  /** `true`: a plug-in has placed the image and set vCPU 0's registers; `false`: nobody took it. */
  boot(request: BootRequest, machine: Machine): boolean;
  vcpuCreate(vcpu: Vcpu): void;
  vcpuSwitch(from: Vcpu | undefined, to: Vcpu): void;
  vcpuTerminate(vcpu: Vcpu): void;
  /** First answer that is not `pass`, in order of loading. */
  exit(kind: ExitKind, vcpu: Vcpu, exit: Exit): ExitAnswer;
  /** A tap of the machine's own, under a name of its own: asked what every plug-in has let pass, those too that tap later. */
  tapExit<K extends ExitKind>(kind: K, name: string, fn: (vcpu: Vcpu, exit: ExitOf<K>) => ExitAnswer): void;
  beforeEntry(vcpu: Vcpu): void;
  /** `true`: a plug-in has asked the guest to power off. */
  requestPoweroff(): boolean;
  shutdown(reason: ShutdownReason): void;
}
