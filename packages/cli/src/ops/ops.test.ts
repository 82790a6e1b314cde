import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { opsReport } from './report.ts';
import { readOpsTable } from './table-file.ts';

const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-ops-'));
afterAll(() => rmSync(directory, { recursive: true }));
const demo = fileURLToPath(new URL('../../../../guests/demo/prebuilt/demo.elf', import.meta.url));

function file(name: string, content: string): string {
  const at = path.join(directory, name);
  writeFileSync(at, content);
  return at;
}
const json = (value: unknown) => file('table.json', JSON.stringify(value));

describe('a table of ops', () => {
  it('is read', async () => {
    const ops = {
      'mmu.write_cr3': 'own',
      'mmu.exit_mmap': 'nop',
      'cpu.load_tr_desc': 'unwanted',
      'irq.halt': 'native',
    };
    const table = await readOpsTable(json({ name: 'mine', version: '1.2.3', ops }));
    expect(table).toEqual({
      ...{ name: 'mine', version: '1.2.3' },
      ops: { ...ops, 'mmu.write_cr3': { kind: 'own', implementation: undefined } },
    });
  });

  it.each<[string, string, unknown]>([
    ['no object', 'no ops table', 'text'],
    ['no version', 'version', { name: 'mine', ops: {} }],
    ['a version that is no semver', 'semver', { name: 'mine', version: '1', ops: {} }],
    ['an unknown word', 'ops.x', { name: 'mine', version: '1.0.0', ops: { x: 'maybe' } }],
    ['a member too many', 'more', { name: 'mine', version: '1.0.0', ops: {}, more: 1 }],
  ])('with %s is refused', async (_what, message, value) => {
    await expect(readOpsTable(json(value))).rejects.toMatchObject({
      ...{ code: 'PV5004', exitCode: 2 },
      message: expect.stringContaining(message),
    });
  });

  it('that is no JSON, or not there, is refused', async () => {
    await expect(readOpsTable(file('text', 'no JSON'))).rejects.toMatchObject({ code: 'PV5004' });
    await expect(readOpsTable(path.join(directory, 'nosuch'))).rejects.toMatchObject({ code: 'PV3002', exitCode: 2 });
  });
});

it('a kernel without paravirt operations is refused in a line', async () => {
  const options = { image: demo, json: false, sites: false, strict: false, tablePath: undefined };
  await expect(opsReport(options)).rejects.toMatchObject({
    ...{ code: 'PV5003', exitCode: 3 },
    message: expect.stringMatching(/pv_ops holds no pointers to code/),
  });
});
