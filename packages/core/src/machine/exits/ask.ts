import type { Exit, ExitAnswer } from '@polyvisor/plugin-api';
import type { PluginCalls } from '../../ports/plugin-calls.ts';
import type { ExitEvent } from '../options.ts';
import type { MachineVcpu } from '../vcpu.ts';

/** Asks the plug-ins what becomes of an exit. */
export type Ask = (vcpu: MachineVcpu, exit: Exit) => ExitAnswer;

/** `onExit` is told of each exit, and of its answer. */
export function askPlugins(calls: Pick<PluginCalls, 'exit'>, onExit: ((event: ExitEvent) => void) | undefined): Ask {
  const ask: Ask = (vcpu, exit) => {
    const answer = vcpu.assist?.exit(exit) ?? 'pass';
    return answer === 'pass' ? calls.exit(exit.kind, vcpu, exit) : answer;
  };
  if (!onExit) return ask;
  return (vcpu, exit) => {
    const { rip } = vcpu;
    const answer = ask(vcpu, exit);
    onExit({ vcpu: vcpu.id, rip, exit, answer });
    return answer;
  };
}
