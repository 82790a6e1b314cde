// `npm run test:kvm-unit-tests -- [--cpus=N] [--memory=MIB] [--plugin=NAME[=OPTIONS]] DIRECTORY [NAME[/TEST]...]`: runs the flats of a built kvm-unit-tests
// tree (its x86 folder) on the PC with the test device, all of them or those named (and of a flat one test), and prints a line
// for each. Exit code 1 if one failed.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const vm = fileURLToPath(new URL('./vm.mjs', import.meta.url));
const TIMEOUT_S = 120;
/** How the suite is told what firmware configuration would tell it (its README, "Guarding unsafe tests"; lib/x86/fwcfg.c). */
const environmentOf = (cpus, memoryMib) =>
  `NR_CPUS=${cpus}\nMEMSIZE=${memoryMib}\nMEMLIMIT=${memoryMib}\nTEST_DEVICE=1\n`;
/** What the suite exits with if all has been skipped, 77, as the exit port makes it. */
const SKIPPED = /status 38$/;

const given = process.argv.slice(2);
/** The value of an option before the directory. */
function option(name, otherwise) {
  const at = given.findIndex((argument) => argument.startsWith(`--${name}=`));
  return at < 0 ? otherwise : given.splice(at, 1)[0].slice(name.length + 3);
}
const cpus = option('cpus', '1');
const memoryMib = option('memory', '128');
const plugin = option('plugin', 'none');
const [directory, ...names] = given;
if (!directory || !existsSync(directory)) {
  console.error(`${directory ? `there is no ${directory}: ` : ''}give the folder that holds the .flat files`);
  process.exit(2);
}
const temporary = mkdtempSync(path.join(tmpdir(), 'polyvisor-kut-'));
const environment = path.join(temporary, 'environment');
writeFileSync(environment, environmentOf(cpus, memoryMib));
const flats = readdirSync(directory).filter((file) => file.endsWith('.flat'));
const wanted = names.length > 0 ? names : flats.sort().map((flat) => path.basename(flat, '.flat'));

function outcome({ status, stdout, stderr }) {
  const lines = stdout.toString().replaceAll('\r', '').split('\n');
  const count = (word) => lines.filter((line) => line.startsWith(`${word}:`)).length;
  const ended = stderr.toString().trimEnd().split('\n').at(-1);
  const result = status === 0 ? 'pass' : SKIPPED.test(ended) ? 'skip' : 'FAIL';
  const text = `${result}  ${count('PASS')} passed, ${count('FAIL')} failed, ${count('SKIP')} skipped  (${ended})`;
  return { result, text };
}

let failed = false;
for (const name of wanted) {
  // Names of tests have slashes, too.
  const [flat, ...rest] = name.split('/');
  const test = rest.join('/');
  // The first word of a Multiboot command line is the image's name.
  const command = test ? ['--entry', 'multiboot1', '--append', `${flat} ${test}`] : [];
  const options = [...command, '--plugin', plugin, '--chip', 'testdev', '--memory', `${memoryMib}M`, '--cpus', cpus];
  const bounds = ['--timeout', String(TIMEOUT_S), '--boot-module', `${environment}:environment`, '--no-control'];
  const run = spawnSync(process.execPath, [vm, 'run', path.join(directory, `${flat}.flat`), ...options, ...bounds], {
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 2 ** 26,
  });
  const { result, text } = outcome(run);
  failed ||= result === 'FAIL';
  console.log(`${name.padEnd(22)} ${text}`);
}
rmSync(temporary, { recursive: true });
process.exitCode = failed ? 1 : 0;
