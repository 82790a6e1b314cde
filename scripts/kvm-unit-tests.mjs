// `npm run test:kvm-unit-tests -- [--cpus=N] DIRECTORY [NAME...]`: runs the flats of a built kvm-unit-tests tree (its x86
// folder) on the PC with the test device, all of them or those named, and prints a line for each. Exit code 1 if one failed.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const vm = fileURLToPath(new URL('./vm.mjs', import.meta.url));
const MEMORY_MIB = 128;
const TIMEOUT_S = 120;
/** How the suite is told what firmware configuration would tell it (its README, "Guarding unsafe tests"; lib/x86/fwcfg.c). */
const environmentOf = (cpus) => `NR_CPUS=${cpus}\nMEMSIZE=${MEMORY_MIB}\nMEMLIMIT=${MEMORY_MIB}\nTEST_DEVICE=1\n`;

const given = process.argv.slice(2);
const cpus = given[0]?.startsWith('--cpus=') ? given.shift().slice('--cpus='.length) : '1';
const [directory, ...names] = given;
if (!directory || !existsSync(directory)) {
  console.error(`${directory ? `there is no ${directory}: ` : ''}give the folder that holds the .flat files`);
  process.exit(2);
}
const temporary = mkdtempSync(path.join(tmpdir(), 'polyvisor-kut-'));
const environment = path.join(temporary, 'environment');
writeFileSync(environment, environmentOf(cpus));
const flats = readdirSync(directory).filter((file) => file.endsWith('.flat'));
const wanted = names.length > 0 ? names.map((name) => `${name}.flat`) : flats.sort();

function outcome({ status, stdout, stderr }) {
  const lines = stdout.toString().replaceAll('\r', '').split('\n');
  const count = (word) => lines.filter((line) => line.startsWith(`${word}:`)).length;
  const ended = stderr.toString().trimEnd().split('\n').at(-1);
  const passed = status === 0 ? 'pass' : 'FAIL';
  return `${passed}  ${count('PASS')} passed, ${count('FAIL')} failed, ${count('SKIP')} skipped  (${ended})`;
}

let failed = false;
for (const flat of wanted) {
  const options = ['--plugin', 'none', '--chip', 'testdev', '--memory', `${MEMORY_MIB}M`, '--cpus', cpus];
  const bounds = ['--timeout', String(TIMEOUT_S), '--boot-module', `${environment}:environment`, '--no-control'];
  const run = spawnSync(process.execPath, [vm, 'run', path.join(directory, flat), ...options, ...bounds], {
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 2 ** 26,
  });
  failed ||= run.status !== 0;
  console.log(`${path.basename(flat, '.flat').padEnd(22)} ${outcome(run)}`);
}
rmSync(temporary, { recursive: true });
process.exitCode = failed ? 1 : 0;
