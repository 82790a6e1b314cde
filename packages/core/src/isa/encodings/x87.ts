/** Rows of the x87 unit (SDM vol. 2D, A.5). */
import { fldcw, fnclex, fninit, fnop, fnopNoWait, fnstcw, fnstsw, fnstswAx, fwait } from '../semantics/x87-control.ts';
import { type EncodingRow, row } from './row.ts';

const control: EncodingRow[] = [
  row('9B', 'FWAIT', '', fwait),
  row('D9 /5', 'FLDCW', 'Mw', fldcw),
  row('D9 /7', 'FNSTCW', 'Mw', fnstcw),
  row('D9 D0', 'FNOP', '', fnop),
  row('DB E0', 'FNENI', '', fnopNoWait),
  row('DB E1', 'FNDISI', '', fnopNoWait),
  row('DB E2', 'FNCLEX', '', fnclex),
  row('DB E3', 'FNINIT', '', fninit),
  row('DB E4', 'FNSETPM', '', fnopNoWait),
  row('DD /7', 'FNSTSW', 'Mw', fnstsw),
  row('DF E0', 'FNSTSW AX', '', fnstswAx),
];

export const x87Encodings: readonly EncodingRow[] = [...control];
