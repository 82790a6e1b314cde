import type {
  BootRequest,
  Claim,
  ExitAnswer,
  ExitKind,
  GuestImage,
  PlatformDefinition,
  Plugin,
  PluginHost,
} from '@polyvisor/plugin-api';
import { FakeMachine } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PluginRegistry } from './registry.ts';

const image = {
  name: 'kernel',
  description: 'a guest',
  format: 'unknown',
  file: new Uint8Array(),
} satisfies GuestImage;
const entry = { name: 'front', abi: 'Some', address: 1n, foundIn: 'a test', plugin: 'host', priority: 1 };
const exitOf = { hlt: { kind: 'hlt', instructionLength: 1 }, cpuid: { kind: 'cpuid', instructionLength: 2 } } as const;
type Apply = (host: PluginHost) => void;

function load(registry: PluginRegistry, name: string, apply: Apply = () => {}, fields: Partial<Plugin> = {}): void {
  const plugin: Plugin = { name, version: '1.0.0', api: '^1.0', ...fields, apply };
  registry.load(plugin, { where: `${name}.ts` });
}

/** A guest that has been started through a door of plug-in `host`. */
function running(apply: Apply = () => {}, registry = new PluginRegistry()) {
  const machine = new FakeMachine();
  const { calls } = registry;
  load(registry, 'host', apply);
  calls.findEntries(image);
  calls.configure({ ...machine.platform, entry });
  for (const vcpu of machine.vcpus) calls.vcpuCreate(vcpu);
  calls.boot({ image, entry } as BootRequest, machine);
  calls.vcpuSwitch(undefined, machine.vcpus[0]);
  const exit = (kind: 'hlt' | 'cpuid') => calls.exit(kind, machine.vcpus[0], exitOf[kind]);
  return { registry, machine, exit };
}

const removed = (registry: PluginRegistry, name: string) => registry.unload(name).name;
const inUse = (message: string, fix = 'end the guest, and start it without the plug-in') =>
  expect.objectContaining({ code: 'PV1019', message, fix });

describe('a plug-in that the guest runs on is not removed', () => {
  it('but named, with guest and door', () => {
    const { registry } = running();
    expect(() => registry.unload('host')).toThrow(
      inUse('plug-in host is in use by guest kernel: its door front (Some)'),
    );
    expect(registry.plugins).toHaveLength(1);
  });

  const platforms: [string, (platform: PlatformDefinition) => void][] = [
    ['chips', ({ chips }) => void chips.add('pci')],
    ['memory', (platform) => void (platform.overheadBytes += 4096)],
    ['room for operations', (platform) => void (platform.roomForOps = !platform.roomForOps)],
    ['the number of vCPUs', (platform) => void (platform.mostVcpus = 7)],
  ];
  it.each(platforms)('if it has changed the platform: %s', (_name, change) => {
    const registry = new PluginRegistry();
    load(registry, 'a', ({ hooks }) => hooks.configure.tap('a', change));
    load(registry, 'b', ({ hooks }) => hooks.configure.tap('b', () => {}));
    running(undefined, registry);
    expect(() => registry.unload('a')).toThrow(
      inUse('plug-in a is in use by guest kernel: its changes of the platform'),
    );
    expect(removed(registry, 'b')).toBe('b');
  });

  it('if it has booted the image, or taken something of the machine in a hook', () => {
    const registry = new PluginRegistry();
    load(registry, 'looks', ({ hooks }) => hooks.boot.tap('looks', () => undefined));
    load(registry, 'takes', ({ hooks }) =>
      hooks.boot.tap('takes', () => {
        registry.calls.took('its PCI devices');
        return true;
      }),
    );
    running(undefined, registry);
    expect(registry.usesOf('looks')).toEqual([]);
    expect(registry.usesOf('takes')).toEqual(['its PCI devices', 'its boot of the image']);
  });

  it('if it may have taken something between hooks: each that has the machine', () => {
    const registry = new PluginRegistry();
    load(registry, 'a', ({ hooks }) => hooks.boot.tap('a', () => undefined));
    load(registry, 'b');
    running(undefined, registry);
    registry.calls.took('its PCI devices');
    expect(registry.usesOf('a')).toEqual(['its PCI devices']);
    expect(removed(registry, 'b')).toBe('b');
  });

  it('once it has answered an exit, which a passing one never has', () => {
    const { registry, exit } = running();
    load(registry, 'counts', ({ hooks }) => hooks.exit.for('hlt').tap('counts', () => 'pass'));
    load(registry, 'answers', ({ hooks }) => {
      for (const kind of ['cpuid', 'hlt'] as const) hooks.exit.for(kind).tap('answers', () => 'handled');
    });
    expect(registry.usesOf('answers')).toEqual([]);
    exit('hlt');
    exit('hlt');
    expect(registry.usesOf('answers')).toEqual(['its answers to exits (hlt)']);
    exit('cpuid');
    expect(() => registry.unload('answers')).toThrow(
      inUse('plug-in answers is in use by guest kernel: its answers to exits (hlt, cpuid)'),
    );
    expect(removed(registry, 'counts')).toBe('counts');
  });

  it('as long as it says so itself, which counts for its answers', () => {
    const { registry, exit } = running();
    let pages = ['hypercall page'];
    load(registry, 'a', ({ hooks }) => {
      hooks.inUse.tap('a', () => pages);
      hooks.exit.for('hlt').tap('a', () => 'handled');
    });
    exit('hlt');
    expect(() => registry.unload('a')).toThrow(inUse('plug-in a is in use by guest kernel: hypercall page'));
    pages = [];
    expect(removed(registry, 'a')).toBe('a');
  });

  it.each([undefined, 'page', [1], [''], ['a\nb'], new Array(33).fill('page'), ['x'.repeat(201)]])(
    'if it says %j, which is nothing',
    (answer) => {
      const { registry } = running();
      load(registry, 'a', ({ hooks }) => hooks.inUse.tap('a', () => answer as never));
      expect(() => registry.unload('a')).toThrow(expect.objectContaining({ code: 'PV1015' }));
      expect(registry.plugins).toHaveLength(2);
    },
  );

  it('if it throws when it is asked', () => {
    const { registry } = running();
    load(registry, 'a', ({ hooks }) =>
      hooks.inUse.tap('a', () => {
        throw new Error('no idea');
      }),
    );
    expect(() => registry.unload('a')).toThrow(/^plug-in a in hook inUse at guest RIP 0x0: no idea$/);
    expect(registry.plugins).toHaveLength(2);
  });

  it('until the guest has ended', () => {
    const { registry } = running();
    registry.calls.shutdown({ kind: 'poweroff' });
    expect(removed(registry, 'host')).toBe('host');
  });
});

describe('a plug-in is not removed either', () => {
  it('if another requires it, or somebody else says so', () => {
    const { registry } = running();
    load(registry, 'a');
    load(registry, 'b', () => {}, { requires: { a: '^1.0' } });
    const fix = 'unload first what uses it';
    expect(() => registry.unload('a')).toThrow(
      inUse('plug-in a is in use by guest kernel: plug-in b, which requires it', fix),
    );
    registry.unload('b');
    expect(() => registry.unload('a', ['ops module a-ops'])).toThrow(
      inUse('plug-in a is in use by guest kernel: ops module a-ops', fix),
    );
    expect(removed(registry, 'a')).toBe('a');
  });

  it('if there is none', () => {
    const error = expect.objectContaining({ code: 'PV1020', message: 'no plug-in a is loaded', fix: 'loaded: host' });
    const { registry } = running();
    expect(() => registry.unload('a')).toThrow(error);
    expect(() => registry.usesOf('a')).toThrow(error);
  });

  it.each(['exit', 'beforeEntry', 'shutdown'] as const)('in the middle of %s, even of another', (hook) => {
    const { registry, exit, machine } = running();
    const errors: unknown[] = [];
    const unload = () => {
      try {
        registry.unload('a');
      } catch (error) {
        errors.push(error);
      }
    };
    load(registry, 'a');
    registry.onTrace('exits', unload);
    load(registry, 'b', ({ hooks, trace }) => {
      const tell = () => trace('exits', () => ({}));
      hooks.exit.for('hlt').tap('b', () => {
        registry.calls.exit('cpuid', machine.vcpus[0], exitOf.cpuid);
        tell();
        return 'pass';
      });
      hooks.exit.for('cpuid').tap('b', () => 'pass');
      hooks.beforeEntry.tap('b', tell);
      hooks.shutdown.tap('b', tell);
    });
    if (hook === 'exit') exit('hlt');
    else if (hook === 'beforeEntry') registry.calls.beforeEntry(machine.vcpus[0]);
    else registry.calls.shutdown({ kind: 'poweroff' });
    expect(errors).toEqual([
      expect.objectContaining({
        code: 'PV1022',
        message: 'plug-in a cannot be removed: a hook of plug-in b is being called',
      }),
    ]);
    expect(removed(registry, 'a')).toBe('a');
  });

  it('but can be after a hook has failed', () => {
    const { registry, exit, machine } = running();
    const fail = () => {
      throw new Error('boo');
    };
    load(registry, 'a', ({ hooks }) => {
      hooks.exit.for('hlt').tap('a', fail);
      hooks.beforeEntry.tap('a', fail);
    });
    expect(() => exit('hlt')).toThrow('boo');
    expect(() => registry.calls.beforeEntry(machine.vcpus[0])).toThrow('boo');
    expect(removed(registry, 'a')).toBe('a');
  });
});

describe('a plug-in that has been removed', () => {
  it('is told last, and what it throws is logged', () => {
    const log: string[] = [];
    const registry = new PluginRegistry({
      log: (level, plugin, message) => log.push(`${level} ${plugin}: ${message}`),
    });
    running(undefined, registry);
    load(registry, 'a', ({ hooks }) => {
      hooks.beforeEntry.tap('a', () => {});
      hooks.removed.tap('a', () => {
        log.push(`taps: ${registry.calls.has('beforeEntry')}, loaded: ${registry.plugins.length}`);
        throw new Error('I stay');
      });
    });
    registry.unload('a');
    expect(log).toEqual(['taps: false, loaded: 1', 'error a: plug-in a in hook removed at guest RIP 0x0: I stay']);
    load(registry, 'a');
    registry.unload('a');
    expect(log).toHaveLength(2);
  });

  it.each(['removed', 'refused'] as const)('or %s can neither claim, tap, count nor trace', (how) => {
    const { registry, exit } = running();
    let kept: PluginHost | undefined;
    const apply = (host: PluginHost) => {
      kept = host;
      if (how === 'refused') throw new Error('no');
    };
    if (how === 'refused') expect(() => load(registry, 'a', apply)).toThrow(/no$/);
    else {
      load(registry, 'a', apply);
      registry.unload('a');
    }
    const host = kept as PluginHost;
    const events: unknown[] = [];
    registry.onTrace('events', (event) => events.push(event));
    const gone = expect.objectContaining({
      code: 'PV1021',
      message: expect.stringContaining('plug-in a is not loaded'),
    });
    expect(() => host.claim({ kind: 'ident', ident: 1 })).toThrow(gone);
    expect(() => host.hooks.exit.for('hlt').tap('a', () => 'handled')).toThrow(gone);
    host.count('odd');
    host.trace('events', () => ({}));
    expect(host.isTraced('events')).toBe(false);
    expect([events, registry.counters(), registry.claims, exit('hlt')]).toEqual([[], [], [], 'pass']);
  });

  it('leaves its name and claims to another version of it', () => {
    const { registry } = running();
    const claim: Claim = { kind: 'hypercall', abi: 'a', first: 0, last: 1 };
    load(registry, 'a', (host) => host.claim(claim));
    registry.unload('a');
    load(registry, 'a', (host) => host.claim(claim), { version: '0.9.0' });
    expect(registry.plugins.map(({ version }) => version)).toEqual(['1.0.0', '0.9.0']);
  });

  it('leaves nothing of what it was used for to another version of it', () => {
    const registry = new PluginRegistry();
    load(registry, 'a', ({ hooks }) => {
      hooks.inUse.tap('a', () => []);
      hooks.boot.tap('a', () => undefined);
      hooks.exit.for('hlt').tap('a', () => 'handled');
    });
    const { exit } = running(undefined, registry);
    exit('hlt');
    registry.unload('a');
    load(registry, 'a', ({ hooks }) => hooks.exit.for('cpuid').tap('a', () => 'handled'));
    registry.calls.took('its PCI devices');
    expect(registry.usesOf('a')).toEqual([]);
    exit('cpuid');
    expect(registry.usesOf('a')).toEqual(['its answers to exits (cpuid)']);
  });

  it('leaves the machine its own taps, of whatever name', () => {
    const { registry, exit } = running();
    registry.calls.tapExit('hlt', 'a', () => 'handled');
    load(registry, 'a', ({ hooks }) => hooks.exit.for('hlt').tap('a', () => 'pass'));
    registry.unload('a');
    expect(exit('hlt')).toBe('handled');
    // Still asked after all plug-ins.
    load(registry, 'b', ({ hooks }) => hooks.exit.for('hlt').tap('b', () => 'common'));
    expect(exit('hlt')).toBe('common');
  });

  it('before a guest is started has nothing to do with it', () => {
    const registry = new PluginRegistry();
    const called: string[] = [];
    load(registry, 'a', ({ hooks }) => {
      hooks.configure.tap('a', () => void called.push('configure'));
      hooks.vcpuCreate.tap('a', () => void called.push('vcpuCreate'));
      hooks.boot.tap('a', () => {
        called.push('boot');
        return undefined;
      });
    });
    registry.unload('a');
    running(undefined, registry);
    expect(called).toEqual([]);
  });

  it('leaves the machine to go on with what is tapped then', () => {
    const { registry } = running();
    const asked: boolean[] = [];
    registry.calls.onChange(() => asked.push(registry.calls.has('exit', 'cli')));
    load(registry, 'a', ({ hooks }) => hooks.exit.for('cli').tap('a', () => 'pass'));
    registry.unload('a');
    expect(asked).toEqual([true, false]);
  });
});

/** Plug-ins that come and go: what each taps and claims, and what it answers exits with. */
const cast = [
  { name: 'a', exits: { hlt: 'pass', cpuid: 'pass' } },
  { name: 'b', exits: { hlt: 'handled' }, claim: 1 },
  { name: 'c', exits: { cpuid: 'common' }, requires: 'a', claim: 2 },
  { name: 'd', exits: { hlt: 'pass' }, claim: 2 },
] as const satisfies readonly {
  name: string;
  exits: Partial<Record<ExitKind, ExitAnswer>>;
  requires?: string;
  claim?: number;
}[];
type Member = (typeof cast)[number];

function apply(member: Member, log: string[]): Apply {
  return (host) => {
    const { name } = member;
    const { hooks } = host;
    const note = (what: string) => void log.push(`${name} ${what}`);
    host.count('applied');
    if ('claim' in member) host.claim({ kind: 'ident', ident: member.claim });
    hooks.findEntries.tap(name, () => ({ entries: [], missing: [{ name, abi: name, reason: 'none' }] }));
    hooks.vcpuSwitch.tap(name, () => note('vcpuSwitch'));
    hooks.vcpuTerminate.tap(name, () => note('vcpuTerminate'));
    hooks.beforeEntry.tap(name, () => note('beforeEntry'));
    hooks.requestPoweroff.tap(name, () => note('requestPoweroff') as undefined);
    hooks.shutdown.tap(name, () => note('shutdown'));
    for (const [kind, answer] of Object.entries(member.exits)) {
      hooks.exit.for(kind as 'hlt').tap(name, () => {
        note(kind);
        return answer;
      });
    }
  };
}

/** All that can be seen of a registry whose guest runs. */
function seenOf({ registry, machine, exit }: ReturnType<typeof running>, log: string[]) {
  const { calls } = registry;
  const [vcpu] = machine.vcpus;
  log.length = 0;
  const answers = [exit('hlt'), exit('cpuid')];
  calls.vcpuSwitch(vcpu, vcpu);
  calls.beforeEntry(vcpu);
  calls.requestPoweroff();
  const doors = calls.findEntries(image).missing.map(({ name }) => name);
  const wanted = (['hlt', 'cpuid'] as const).map((kind) => calls.has('exit', kind));
  const also = [calls.has('beforeEntry'), calls.has('vcpuSwitch')];
  calls.vcpuTerminate(vcpu);
  calls.shutdown({ kind: 'poweroff' });
  const { plugins, claims } = registry;
  return { answers, doors, wanted, also, plugins, claims, counters: registry.counters(), log: [...log] };
}

it('loaded and unloaded in any order, plug-ins leave what there would be without those that have gone', () => {
  const step = fc.record({ do: fc.constantFrom('load', 'unload', 'hlt', 'cpuid'), who: fc.nat(cast.length - 1) });
  const attempt = (call: () => unknown): string => {
    try {
      call();
      return 'done';
    } catch (error) {
      return (error as { code: string }).code;
    }
  };
  const outcomes = new Set<string>();
  fc.assert(
    fc.property(fc.array(step, { maxLength: 24 }), (steps) => {
      const log: string[] = [];
      const guest = running();
      const present: Member[] = [];
      const answered = new Set<string>();
      const take = (member: Member, into: PluginRegistry, events: string[]) =>
        load(
          into,
          member.name,
          apply(member, events),
          'requires' in member ? { requires: { [member.requires]: '*' } } : {},
        );
      for (const { do: what, who } of steps) {
        const member = cast[who];
        if (what === 'load') {
          const done = attempt(() => take(member, guest.registry, log));
          outcomes.add(`load ${done}`);
          const isThere = present.includes(member);
          const lacks = 'requires' in member && !present.some(({ name }) => name === member.requires);
          const clashes =
            'claim' in member && present.some((other) => 'claim' in other && other.claim === member.claim);
          expect(done).toBe(isThere ? 'PV1011' : lacks ? 'PV1005' : clashes ? 'PV1009' : 'done');
          if (done === 'done') present.push(member);
        } else if (what === 'unload') {
          const done = attempt(() => guest.registry.unload(member.name));
          outcomes.add(`unload ${done}`);
          const required = present.some((other) => 'requires' in other && other.requires === member.name);
          const expected = !present.includes(member)
            ? 'PV1020'
            : answered.has(member.name) || required
              ? 'PV1019'
              : 'done';
          expect(done).toBe(expected);
          if (done === 'done') present.splice(present.indexOf(member), 1);
        } else {
          guest.exit(what);
          const by = present.find(
            ({ exits }) => what in exits && (exits as Record<string, ExitAnswer>)[what] !== 'pass',
          );
          if (by) answered.add(by.name);
        }
      }
      const freshLog: string[] = [];
      const fresh = running();
      for (const member of present) take(member, fresh.registry, freshLog);
      expect(seenOf(guest, log)).toEqual(seenOf(fresh, freshLog));
    }),
    { seed: 43, numRuns: 400 },
  );
  const codes = [
    'load done',
    'load PV1005',
    'load PV1009',
    'load PV1011',
    'unload done',
    'unload PV1019',
    'unload PV1020',
  ];
  expect([...outcomes].sort()).toEqual(codes.sort());
});
