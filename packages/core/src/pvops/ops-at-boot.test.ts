import type { Plugin } from '@polyvisor/plugin-api';
import { API_VERSION } from '@polyvisor/plugin-api';
import { FakeHost, FakeMachine } from '@polyvisor/testkit';
import { describe, expect, it } from 'vitest';
import type { Machine } from '../machine/index.ts';
import { NATIVE_CODE, POWER_OFF, runNative } from '../machine/testing/native-guest.ts';
import { PluginRegistry } from '../plugin/index.ts';
import { LiveOps } from './live-ops.ts';
import { OpsAtBoot } from './ops-at-boot.ts';
import { BASES } from './testing/kernel-fixture.ts';
import { kernel, PATCHING, placeKernel, SITE, SLIDE } from './testing/kernel-in-memory.ts';

const [RBX, RBP] = [3, 5];
const manifest = { name: 'mine', version: '1.0.0', api: '^1.2', guest: 'linux64' } as const;

function le(value: bigint | number, sizeBytes: number): string {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes.toString('hex', 0, sizeBytes);
}
/** `mov rax, gva; call rax`. */
const call = (offset: number) => `48b8${le(BASES[64] + SLIDE + BigInt(offset), 8)}ffd0`;
const PROLOGUE = '48c7c400001a0031db';
/** Where the table register image for LIDT lies: the one that the machine has already. */
const IDTR = 0x1b0000;
const LIDT = `0f011c25${le(IDTR, 4)}`;
const VALUE = `48c7c715000000${call(SITE.value)}4889c5`;

/** Runs code on a machine in which the kernel lies, and answers what `ready` was told, and where the guest was. */
async function boot(code: string, ready: (machine: Machine) => boolean = () => true) {
  const told: { settled: boolean; rip: bigint; rbx: bigint; code: Uint8Array }[] = [];
  let machine: Machine | undefined;
  const atBoot = new OpsAtBoot(kernel, API_VERSION, (settled) => {
    const made = machine as Machine;
    const [vcpu] = made.vcpus;
    told.push({ settled, rip: vcpu.rip, rbx: vcpu.gpr[RBX], code: made.memory.readBytes(NATIVE_CODE, 64) });
    return ready(made);
  });
  const plugins = new PluginRegistry();
  plugins.load(atBoot.plugin, { where: 'test' });
  const { gpr, end } = await runNative(
    `${PROLOGUE}${code}${POWER_OFF}`,
    {},
    () => ({ memoryBytes: 8 << 20, plugins }),
    (made) => {
      placeKernel(made);
      const { base, limit } = made.vcpus[0].tables.idtr;
      made.memory.write64(IDTR, BigInt(limit) | (base << 16n));
      made.memory.write16(IDTR + 8, 0);
      machine = made;
      atBoot.started(made);
    },
  );
  expect(end.reason).toEqual({ kind: 'poweroff' });
  return { told, gpr, machine: machine as unknown as Machine };
}
const textOf = ({ memory }: Machine) => memory.readBytes(0x400000 + PATCHING, 16);

describe('the moment of a boot at which ops come', () => {
  it('is when the kernel has patched its calls; registers and code are as they would be', async () => {
    const code = `${LIDT}${call(PATCHING)}`;
    const { told, gpr, machine } = await boot(`${code}${VALUE}`);
    const back = BigInt(NATIVE_CODE + (PROLOGUE.length + code.length) / 2);
    expect(told).toEqual([{ settled: true, rip: back, rbx: 1n, code: expect.anything() }]);
    const plain = await boot(`${call(PATCHING)}${VALUE}`);
    expect(plain.told).toEqual([]);
    expect([gpr[RBX], gpr[RBP]]).toEqual([plain.gpr[RBX], plain.gpr[RBP]]);
    expect(textOf(machine)).toEqual(textOf(plain.machine));
    expect(machine.memory.readBytes(NATIVE_CODE, told[0].code.length)).toEqual(told[0].code);
  });

  it('is over when the kernel is in memory: nothing more can be added', async () => {
    let atBoot: OpsAtBoot | undefined;
    const seen: boolean[] = [];
    await runNative(
      `${PROLOGUE}${POWER_OFF}`,
      {},
      () => ({ memoryBytes: 8 << 20 }),
      (made) => {
        atBoot = new OpsAtBoot(kernel, API_VERSION, () => true);
        seen.push(atBoot.isFound);
        atBoot.started(made);
        seen.push(atBoot.isFound);
        placeKernel(made);
        seen.push(atBoot.isFound);
      },
    );
    expect(seen).toEqual([false, false, true]);
  });

  it('comes once, however often the kernel patches', async () => {
    const { told } = await boot(`${LIDT}${call(PATCHING)}${LIDT}${call(PATCHING)}`);
    expect(told).toHaveLength(1);
  });

  it('is early enough: what is loaded then is called from then on', async () => {
    const { gpr } = await boot(`${LIDT}${VALUE}${call(PATCHING)}${call(SITE.halt)}${VALUE}`, (machine) => {
      const live = LiveOps.attach(machine, kernel, { nowNs: () => 0, cpuNs: () => 0, report: () => {} }, true);
      const change = live?.load({ ...manifest, ops: { value: () => 7n, halt: 'nop' } }, { settled: true });
      return change !== undefined;
    });
    expect([gpr[RBX], gpr[RBP]]).toEqual([1n, 7n]);
  });

  it('is not now while the kernel is somewhere else', async () => {
    const { told } = await boot(`${LIDT}${VALUE}`);
    expect(told).toEqual([]);
  });

  it('is the first time in user space where the kernel was not seen to patch, and again until it is answered', () => {
    const told: boolean[] = [];
    const answers = [false, true];
    const atBoot = new OpsAtBoot(kernel, API_VERSION, (settled) => {
      told.push(settled);
      return answers[told.length - 1];
    });
    const host = FakeHost.of(atBoot.plugin as Plugin);
    const machine = new FakeMachine();
    atBoot.started(machine as unknown as Machine);
    const [vcpu] = machine.vcpus;
    for (const cpl of [0, 3, 0, 3, 3]) {
      vcpu.cpl = cpl;
      host.call('beforeEntry', vcpu);
    }
    expect(told).toEqual([false, false]);
  });
});
