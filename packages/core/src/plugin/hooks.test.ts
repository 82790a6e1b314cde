import { readFileSync } from 'node:fs';
import {
  type BootRequest,
  type EntrySearch,
  type Exit,
  type GuestImage,
  type Plugin,
  type PluginHost,
  PolyvisorError,
} from '@polyvisor/plugin-api';
import { FakeMachine } from '@polyvisor/testkit';
import { describe, expect, it } from 'vitest';
import { PluginFailure } from './codes.ts';
import { hookTable } from './hook-table.ts';
import { PluginRegistry } from './registry.ts';

const image = { name: 'guest', description: 'a guest', format: 'unknown', file: new Uint8Array() } satisfies GuestImage;
const halt: Exit = { kind: 'hlt', instructionLength: 1 };

function load(registry: PluginRegistry, name: string, apply: (host: PluginHost) => void): void {
  const plugin: Plugin = { name, version: '1.0.0', api: '^1.0', apply };
  registry.load(plugin, { where: `${name}.ts` });
}

function search(name: string): EntrySearch {
  const entry = { name, abi: name, address: 1n, foundIn: 'a test', plugin: 'somebody else', priority: 1 };
  return { entries: [entry], missing: [] };
}

function thrownBy(call: () => unknown): PluginFailure {
  try {
    call();
  } catch (error) {
    return error as PluginFailure;
  }
  throw new Error('did not throw');
}

describe('hooks', () => {
  it('ask the taps of an exit in order of loading until one does not pass', () => {
    const registry = new PluginRegistry();
    const asked: string[] = [];
    for (const [name, answer] of [
      ['a', 'pass'],
      ['b', 'common'],
      ['c', 'handled'],
    ] as const) {
      load(registry, name, (host) =>
        host.hooks.exit.for('hlt').tap(name, () => {
          asked.push(name);
          return answer;
        }),
      );
    }
    const { vcpus } = new FakeMachine();
    expect(registry.calls.exit('hlt', vcpus[0], halt)).toBe('common');
    expect(asked).toEqual(['a', 'b']);
    expect(registry.calls.exit('cpuid', vcpus[0], { kind: 'cpuid', instructionLength: 2 })).toBe('pass');
  });

  it('ask the machine’s own tap of an exit last, after plug-ins that have tapped later, too', () => {
    const registry = new PluginRegistry();
    const asked: string[] = [];
    let late: PluginHost | undefined;
    load(registry, 'a', (host) => {
      late = host;
    });
    registry.calls.tapExit('hlt', 'own', (_vcpu, { kind }) => {
      asked.push(`own ${kind}`);
      return 'pass';
    });
    late?.hooks.exit.for('hlt').tap('a', () => {
      asked.push('a');
      return 'pass';
    });
    const { vcpus } = new FakeMachine();
    expect(registry.calls.exit('hlt', vcpus[0], halt)).toBe('pass');
    expect(asked).toEqual(['a', 'own hlt']);
    late?.hooks.exit.for('hlt').tap('a', () => 'handled');
    expect(registry.calls.exit('hlt', vcpus[0], halt)).toBe('handled');
    expect(asked).toEqual(['a', 'own hlt', 'a']);
  });

  it('tell which exits are wanted, and when that changes', () => {
    const registry = new PluginRegistry();
    let changes = 0;
    registry.calls.onChange(() => changes++);
    let late: PluginHost | undefined;
    load(registry, 'a', (host) => {
      late = host;
    });
    expect(registry.calls.has('exit', 'hlt')).toBe(false);
    late?.hooks.exit.for('hlt').tap('a', () => 'pass');
    late?.hooks.beforeEntry.tap('a', () => {});
    expect(registry.calls.has('exit', 'hlt')).toBe(true);
    expect(registry.calls.has('exit', 'cpuid')).toBe(false);
    expect(registry.calls.has('beforeEntry')).toBe(true);
    expect(changes).toBe(2);
  });

  it('collect doors and sign them with the plug-in that offers them', () => {
    const registry = new PluginRegistry();
    load(registry, 'a', (host) => host.hooks.findEntries.tap('a', () => search('left')));
    load(registry, 'b', (host) => host.hooks.findEntries.tap('b', () => search('right')));
    const { entries } = registry.calls.findEntries(image);
    expect(entries.map(({ name, plugin }) => [name, plugin])).toEqual([
      ['left', 'a'],
      ['right', 'b'],
    ]);
  });

  it('collect doors that nobody opens, signed as well, and refuse one without a reason', () => {
    const registry = new PluginRegistry();
    const closed = { name: 'side', abi: 'side', address: 2n, foundIn: 'a test', plugin: 'else', reason: 'locked' };
    load(registry, 'a', (host) => host.hooks.findEntries.tap('a', () => ({ ...search('left'), closed: [closed] })));
    expect(registry.calls.findEntries(image).closed).toEqual([{ ...closed, plugin: 'a' }]);
    const { reason: _, ...without } = closed;
    const bad = (host: PluginHost) =>
      host.hooks.findEntries.tap('b', () => ({ ...search('right'), closed: [without] as never }));
    expect(thrownBy(() => load(registry, 'b', bad))).toMatchObject({ code: 'PV1015' });
  });

  it('say whether anybody booted the guest', () => {
    const registry = new PluginRegistry();
    load(registry, 'a', (host) =>
      host.hooks.boot.tap('a', ({ commandLine }) => (commandLine === 'mine' ? true : undefined)),
    );
    const boot = (commandLine: string) => registry.calls.boot({ commandLine } as BootRequest, new FakeMachine());
    expect(boot('mine')).toBe(true);
    expect(boot('other')).toBe(false);
  });

  it('are facades: no call, not to be changed', () => {
    const registry = new PluginRegistry();
    load(registry, 'a', (host) => {
      expect(Object.keys(host.hooks.configure)).toEqual(['tap']);
      expect(Object.keys(host.hooks.exit.for('hlt'))).toEqual(['tap']);
      expect(() => Object.assign(host.hooks, { configure: 1 })).toThrow(TypeError);
      expect(() => Object.assign(host, { claim: 1 })).toThrow(TypeError);
    });
  });
});

describe('a failure in a hook', () => {
  const failing = (answer: () => never) => {
    const registry = new PluginRegistry();
    load(registry, 'a', (host) => host.hooks.exit.for('hlt').tap('idle', answer));
    const { vcpus } = new FakeMachine();
    vcpus[0].rip = -0x7eff0000n;
    return thrownBy(() => registry.calls.exit('hlt', vcpus[0], halt));
  };

  it('names plug-in, hook, tap and guest RIP, and keeps the cause', () => {
    const cause = new TypeError('x is not a function');
    const error = failing(() => {
      throw cause;
    });
    expect(error).toBeInstanceOf(PluginFailure);
    expect(error).toMatchObject({ code: 'PV1014', cause, exitCode: 70 });
    expect(error.message).toBe(
      'plug-in a in hook exit.hlt (tap idle) at guest RIP 0xffffffff81010000: x is not a function',
    );
  });

  it('names them for a coded error as well once the guest runs', () => {
    const error = failing(() => {
      throw new PolyvisorError('WORD01', 'odd', 'none');
    });
    expect(error.message).toMatch(/exit\.hlt .* RIP 0xffffffff81010000: WORD01: odd$/);
  });

  it.each([undefined, 'Handled', {}, { fault: 256 }, { fault: 13, errorCode: 'x' }, Promise.resolve('pass')])(
    'includes the answer %o',
    (answer) => {
      expect(failing(() => answer as never)).toMatchObject({ code: 'PV1015' });
    },
  );

  it('includes promises of hooks that answer nothing', () => {
    const registry = new PluginRegistry();
    load(registry, 'a', (host) => host.hooks.beforeEntry.tap('a', (async () => {}) as never));
    const error = thrownBy(() => registry.calls.beforeEntry(new FakeMachine().vcpus[0]));
    expect(error).toMatchObject({ code: 'PV1015' });
  });

  it('lets a plug-in refuse to boot with a code of its own', () => {
    const registry = new PluginRegistry();
    load(registry, 'a', (host) =>
      host.hooks.boot.tap('a', () => {
        throw new PolyvisorError('WORD02', 'too little memory', 'give it more');
      }),
    );
    const error = thrownBy(() => registry.calls.boot({} as BootRequest, new FakeMachine()));
    expect(error).toMatchObject({ code: 'WORD02', message: 'too little memory' });
  });
});

describe('late taps', () => {
  /** A registry whose guest is running on the first of two vCPUs; the second has ended. */
  function running() {
    const registry = new PluginRegistry();
    const machine = new FakeMachine({ vcpus: 2 });
    const { calls } = registry;
    calls.findEntries(image);
    calls.configure(machine.platform);
    for (const vcpu of machine.vcpus) calls.vcpuCreate(vcpu);
    calls.boot({} as BootRequest, machine);
    calls.vcpuSwitch(undefined, machine.vcpus[0]);
    calls.vcpuTerminate(machine.vcpus[1]);
    return { registry, machine };
  }

  it('are shown what they missed', () => {
    const { registry, machine } = running();
    registry.calls.shutdown({ kind: 'poweroff' });
    const seen: unknown[] = [];
    load(registry, 'a', ({ hooks }) => {
      hooks.findEntries.tap('a', ({ name }) => {
        seen.push(name);
        return search('late');
      });
      hooks.vcpuCreate.tap('a', ({ id }) => void seen.push(`create ${id}`));
      hooks.vcpuSwitch.tap('a', (from, to) => void seen.push([from, to]));
      hooks.vcpuTerminate.tap('a', () => void seen.push('terminate'));
      hooks.shutdown.tap('a', ({ kind }) => void seen.push(kind));
    });
    expect(seen).toEqual(['guest', 'create 0', [undefined, machine.vcpus[0]], 'poweroff']);
    expect(registry.calls.findEntries(image).entries.map(({ name }) => name)).toEqual(['late']);
  });

  it.each(['configure', 'boot'] as const)('are refused at %s, and the plug-in with them', (hook) => {
    const { registry } = running();
    const error = thrownBy(() => load(registry, 'a', ({ hooks }) => hooks[hook].tap('a', () => undefined)));
    expect(error).toMatchObject({ code: 'PV1013', fix: 'load the plug-in before the guest is started' });
    expect(error.oneLine.match(/PV1013/g)).toHaveLength(1);
    expect(error.oneLine).toMatch(
      new RegExp(`^PV1013: plug-in a taps hook ${hook} late, which is refused.*: load the`),
    );
    expect(registry.plugins).toEqual([]);
  });

  it('leave nothing behind when a replay fails', () => {
    const { registry } = running();
    const apply = ({ hooks }: PluginHost) => {
      hooks.beforeEntry.tap('a', () => {});
      hooks.vcpuCreate.tap('a', () => {
        throw new Error('no room');
      });
    };
    expect(thrownBy(() => load(registry, 'a', apply)).message).toMatch(/vcpuCreate at guest RIP 0x0: no room/);
    expect(registry.calls.has('beforeEntry')).toBe(false);
    expect(registry.plugins).toEqual([]);
  });
});

describe('counters, traces and log', () => {
  it('count by plug-in', () => {
    const registry = new PluginRegistry();
    for (const name of ['b', 'a']) {
      load(registry, name, (host) => {
        host.count('hypercall.z');
        host.count('hypercall.y', 3);
        host.count('hypercall.z');
      });
    }
    expect(registry.counters().slice(0, 2)).toEqual([
      { plugin: 'b', name: 'hypercall.y', count: 3 },
      { plugin: 'b', name: 'hypercall.z', count: 2 },
    ]);
    expect(registry.counters()).toHaveLength(4);
  });

  it('make an event only while somebody listens', () => {
    const registry = new PluginRegistry();
    let made = 0;
    let send = () => {};
    load(registry, 'a', (host) => {
      send = () => host.trace('exits', () => ({ number: ++made }));
    });
    send();
    const events: unknown[] = [];
    const stop = registry.onTrace('exits', (event) => events.push(event));
    send();
    stop();
    send();
    expect(events).toEqual([{ channel: 'exits', plugin: 'a', data: { number: 1 } }]);
    expect(made).toBe(1);
  });

  it('log with the name of the plug-in', () => {
    const lines: string[] = [];
    const registry = new PluginRegistry({
      log: (level, plugin, message) => lines.push(`${level} ${plugin}: ${message}`),
    });
    load(registry, 'a', (host) => host.log('warn', 'odd'));
    expect(lines).toEqual(['warn a: odd']);
  });
});

it('shows every hook to authors, with its late rule', () => {
  const guide = readFileSync(new URL('../../../../docs/plugin-authoring.md', import.meta.url), 'utf8');
  for (const [name, row] of Object.entries(hookTable)) {
    expect(guide).toContain(`### ${name}`);
    expect(guide).toContain(row.late);
  }
});
