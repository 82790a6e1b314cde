/**
 * `npm run bench:boots`: each of Debian's kernels through each of its doors to the shell of the catalogue's initramfs, beside
 * the same kernel and initramfs in QEMU TCG and, if it is a 32-bit one, in v86.
 *
 *   --boots A,B       of the names below (all)
 *   --runs N          how often each is run (3)
 *   --memory MB       of each guest (512)
 *   --timeout S       for each run (600)
 *   --node FILE       the Node that runs Polyvisor and v86, instead of the one that runs this
 *
 * The table goes to stdout, everything else to stderr. Exits 1 if a run did not get to the shell.
 */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { catalogue } from '../packages/cli/src/catalogue/index.ts';
import { ProgressLine } from '../packages/cli/src/progress.ts';
import { type Boot, type KernelFiles, PROMPT, renderBoots, selectBoots, V86 } from './boot-rows.ts';
import { measureBoots, runBoot } from './boot-run.ts';
import { checkedNode, positive, runMain, temporaryDirectory } from './request.ts';
import { conditionsOf, describe } from './results.ts';
import { prepareV86, V86_VERSION } from './v86.ts';

/** The guests of the catalogue that are booted, as files in `directory`. */
async function writeKernels(boots: readonly Boot[], directory: string): Promise<ReadonlyMap<string, KernelFiles>> {
  const files = new Map<string, KernelFiles>();
  for (const guest of new Set(boots.map((boot) => boot.guest))) {
    const progress = new ProgressLine();
    const { name, file, initrd } = await catalogue[guest].load(progress).finally(() => progress.clear());
    const paths = { kernel: path.join(directory, name), initrd: path.join(directory, `${name}.initramfs`) };
    await writeFile(paths.kernel, file);
    await writeFile(paths.initrd, initrd!);
    files.set(guest, paths);
  }
  return files;
}

async function main(): Promise<boolean> {
  const text = { type: 'string' } as const;
  const options = { boots: text, runs: text, memory: text, timeout: text, node: text };
  const { values } = parseArgs({ options });
  const boots = selectBoots(values.boots);
  const rounds = positive('--runs', values.runs ?? '3');
  const memoryMegabytes = positive('--memory', values.memory ?? '512');
  const timeoutSeconds = positive('--timeout', values.timeout ?? '600');
  const nodePath = checkedNode(values.node);
  const files = await writeKernels(boots, await temporaryDirectory());
  const v86 = boots.some(({ door }) => door === V86) ? await prepareV86() : undefined;
  const { measured, ok } = await measureBoots(boots, rounds, (boot) => {
    const setting = { ...files.get(boot.guest)!, memoryMegabytes, timeoutSeconds, nodePath, v86 };
    return runBoot(boot.command(setting), [PROMPT], timeoutSeconds);
  });
  const kernels = [...files.values()].map(({ kernel }) => path.basename(kernel)).join(', ');
  const conditions = describe(conditionsOf(nodePath, kernels, memoryMegabytes), rounds);
  console.log(`${conditions}${v86 ? `; v86 ${V86_VERSION}` : ''}\n`);
  console.log(renderBoots(measured));
  return ok;
}

await runMain('bench:boots', main);
