/** Of struct vcpu_info (public/xen.h). */
const UPCALL_MASK = 1;

/** The page that has nothing in it but 32 upcall masks that are set. */
export function sharedInfoGpa(memory: { sizeBytes: number; read8(gpa: number): number }): number {
  for (let gpa = memory.sizeBytes - 4096; gpa > 0; gpa -= 4096) {
    const masks = Array.from({ length: 32 }, (_, id) => memory.read8(gpa + id * 64 + UPCALL_MASK));
    if (masks.every((mask) => mask === 1) && memory.read8(gpa + 2) === 0) return gpa;
  }
  throw new Error('no shared_info');
}
