/** CR4.PCIDE: the processor has process contexts. */
export const CR4_PCIDE = 1 << 17;
/** Bits of CR3 that name a process context. */
export const CR3_PCID = 0xfff;

/**
 * A vCPU's process-context identifiers (PCIDs) and the page-table root that each was last loaded with. Banks of the TLB belong to roots
 * (SDM vol. 3A, 4.10.1 lets a processor drop more than it has to): a context's translations are those of its root, and a
 * root that comes anew to a context counts as unknown, so that what was dropped for the context while it had another root need
 * not be looked for.
 */
export class ProcessContexts {
  readonly #roots = new Map<number, number>();

  /** False: the context had another root, or none. */
  enter(pcid: number, root: number): boolean {
    const had = this.#roots.get(pcid) === root;
    if (!had) this.#roots.set(pcid, root);
    return had;
  }

  rootOf(pcid: number): number | undefined {
    return this.#roots.get(pcid);
  }
}
