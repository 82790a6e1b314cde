/**
 * Who may import whom. Held by check-arrows.ts; what each room is for is in docs/ARCHITECTURE.md.
 *
 * A room is a folder directly under packages/core/src, or a whole package. Tests (`*.test.ts`, `testing/`) may
 * import any room of their own package and the test kit.
 */

/** Rooms of core, each with the rooms it may import. */
export const coreRooms: Readonly<Record<string, readonly string[]>> = {
  // What the machine is made of, and how it runs.
  spec: [],
  cpu: ['spec'],
  // The TLB and the registers that IR names have their places in the CPU's state.
  memory: ['spec', 'cpu'],
  ir: ['spec', 'cpu'],
  isa: ['spec', 'cpu', 'ir'],
  engine: ['spec', 'ir', 'isa', 'memory', 'cpu'],
  // What the machine is wired to.
  ports: ['spec'],
  bus: ['spec', 'ports'],
  devices: ['spec', 'ports', 'bus'],
  loader: ['spec', 'ports'],
  backends: ['spec', 'ports'],
  // The composition root, and what stands on it.
  machine: ['spec', 'ir', 'isa', 'memory', 'cpu', 'engine', 'ports', 'bus', 'devices', 'loader'],
  pvops: ['spec', 'ports', 'memory', 'cpu', 'loader', 'machine'],
  plugin: ['spec', 'ports', 'machine'],
  debug: ['spec', 'ports', 'memory', 'cpu', 'isa', 'machine'],
};

interface PackageRule {
  /** Workspace packages it may import. */
  readonly workspace: readonly string[];
  /** May import `node:` modules. */
  readonly node: boolean;
  /** Workspace packages that only its tests may import. */
  readonly inTests: readonly string[];
}

const api = '@polyvisor/plugin-api';
const testkit = '@polyvisor/testkit';

/** Packages, each with the packages it may import. `plugin-*` stands for every other plug-in. */
export const packages: Readonly<Record<string, PackageRule>> = {
  'plugin-api': { workspace: [], node: false, inTests: [] },
  core: { workspace: [api], node: false, inTests: [testkit] },
  testkit: { workspace: [api], node: false, inTests: [] },
  'plugin-*': { workspace: [api], node: false, inTests: [testkit] },
  cli: { workspace: ['*'], node: true, inTests: [testkit] },
};

/** Words that code in core may not use: it never names a hypervisor. Comments may. */
export const hypervisorNames = ['xen', 'vmi', 'lguest', 'kvm', 'vmware', 'hyperv', 'vmx', 'svm'];
