// `npm test`: install what is missing, then type-check, lint, arrows, unused code, vitest.
// The last line is `N passed, N failed`: vitest's tests and one for each check.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ensureInstalled, root } from './setup.mjs';

const checks = [
  { name: 'types', command: ['tsc', '-p', 'tsconfig.json'] },
  { name: 'lint', command: ['biome', 'check', '--error-on-warnings', '.'] },
  { name: 'arrows', command: ['tsx', 'scripts/check-arrows.ts'] },
  { name: 'unused', command: ['knip', '--no-progress'] },
];

function run([tool, ...args]) {
  const suffix = process.platform === 'win32' ? '.cmd' : '';
  const file = path.join(root, 'node_modules', '.bin', tool + suffix);
  return spawnSync(file, args, { cwd: root, stdio: 'inherit', shell: suffix !== '' }).status === 0;
}

function runCheck({ name, command }) {
  console.log(`\n== ${name}`);
  const ok = run(command);
  console.log(`${name}: ${ok ? 'passed' : 'FAILED'}`);
  return ok ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

/** Counts from vitest's own report. A file that could not be loaded, or an error outside a test, counts as a failure. */
function runVitest(filters) {
  console.log('\n== tests');
  const folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-test-'));
  try {
    const outputFile = path.join(folder, 'report.json');
    const ok = run([
      'vitest',
      'run',
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${outputFile}`,
      ...filters,
    ]);
    const report = JSON.parse(readFileSync(outputFile, 'utf8'));
    const brokenFiles = report.testResults.filter(
      (file) => file.status === 'failed' && file.assertionResults.length === 0,
    );
    const failed = report.numFailedTests + brokenFiles.length;
    return { passed: report.numPassedTests, failed: ok ? failed : Math.max(failed, 1) };
  } catch (error) {
    console.error(`vitest left no report: ${error.message}`);
    return { passed: 0, failed: 1 };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

ensureInstalled();
const filters = process.argv.slice(2);
const results = [...(filters.length > 0 ? [] : checks.map(runCheck)), runVitest(filters)];
const passed = results.reduce((sum, result) => sum + result.passed, 0);
const failed = results.reduce((sum, result) => sum + result.failed, 0);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
console.log(`\n${passed} passed, ${failed} failed`);
