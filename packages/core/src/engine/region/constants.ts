import { ZERO } from '../../cpu/state.ts';
import type { Evaluated, Node, Value } from '../../ir/types.ts';
import { NO_SEGMENT } from '../record.ts';
import type { RegionInstruction } from './graph.ts';

const ZERO_OFFSET = BigInt(ZERO.offset);

/** Values of an instruction that are the same whenever it runs. */
export class Constants {
  readonly #instruction: RegionInstruction;
  /** By value id; `null`: not constant. */
  readonly #found: (Evaluated | null | undefined)[] = [];

  constructor(instruction: RegionInstruction) {
    this.#instruction = instruction;
  }

  of(value: Value): Evaluated | undefined {
    if (value.type !== 'i32' && value.type !== 'i64') return undefined;
    const known = this.#found[value.id];
    if (known !== undefined) return known ?? undefined;
    const found = this.#ofNode(value.node);
    this.#found[value.id] = found ?? null;
    return found;
  }

  #ofNode(node: Node): Evaluated | undefined {
    switch (node.kind) {
      case 'const':
        return node.value;
      case 'recordField': {
        const moves = this.#instruction.addresses.some((address) => address.field === node.field);
        return moves ? undefined : BigInt(this.#instruction[node.field]);
      }
      case 'segmentBase':
        return this.#instruction.segment === NO_SEGMENT ? 0n : undefined;
      case 'getRegister':
        return this.#instruction[node.field] === ZERO_OFFSET ? 0n : undefined;
      case 'pure': {
        if (node.result.condition !== undefined) return undefined;
        const args: Evaluated[] = [];
        for (const arg of node.args) {
          const constant = this.of(arg);
          if (constant === undefined) return undefined;
          args.push(constant);
        }
        return node.op.evaluate(args, node.immediates);
      }
      default:
        return undefined;
    }
  }
}
