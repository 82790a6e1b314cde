import { copyFromGuest } from '../access.ts';
import type { HypercallHandler, XenDomain } from '../domain.ts';
import { EFAULT, EINVAL, ENOSYS, EPERM } from '../errno.ts';
import { notImplemented } from '../hypercall/dispatch.ts';

/** CONSOLEIO_* (public/xen.h). */
const CONSOLEIO_WRITE = 0;
const CONSOLEIO_READ = 1;

const CHUNK_BYTES = 128;
/** Most bytes of one call; Xen would take more, in pieces between which the guest can be interrupted. */
const MAX_WRITE_BYTES = 1 << 20;
/** A line without an end is put out at this length. */
const MAX_LINE_BYTES = 1024;

/** The hypervisor's own log, where a guest's console_io output appears in whole lines. */
export class HypervisorLog {
  readonly #domain: XenDomain;
  #line = '';

  constructor(domain: XenDomain) {
    this.#domain = domain;
  }

  write(bytes: Uint8Array): void {
    for (const byte of bytes) {
      if (byte === 0x0a || this.#line.length >= MAX_LINE_BYTES) this.flush();
      if (byte >= 0x20 && byte < 0x7f) this.#line += String.fromCharCode(byte);
      else if (byte === 0x09) this.#line += ' ';
    }
  }

  /** Put out the line so far. */
  flush(): void {
    if (this.#line !== '') this.#domain.host.log('info', `(d1) ${this.#line}`);
    this.#line = '';
  }
}

/**
 * console_io (18): the hypervisor's own console, not the guest's.
 *
 * NOTES: writing works as in a debug build of Xen and goes to the log, a line at a time, marked as the guest's;
 * reading is the hardware domain's alone. A domain's console is its ring (io/console.h).
 * IN: cmd (0 write, 1 read), count in bytes, pointer to the text.
 * OUT: 0, or a negative errno.
 */
export function consoleIo(log: HypervisorLog): HypercallHandler {
  return (context, args) => {
    const cmd = Number(BigInt.asUintN(32, args[0]));
    if (cmd === CONSOLEIO_READ) return EPERM;
    if (cmd !== CONSOLEIO_WRITE) return notImplemented(context, 'console_io', cmd, ENOSYS);
    const count = Number(BigInt.asUintN(32, args[1]));
    if (count > MAX_WRITE_BYTES) return EINVAL;
    for (let done = 0; done < count; done += CHUNK_BYTES) {
      const sizeBytes = Math.min(CHUNK_BYTES, count - done);
      const view = copyFromGuest(context.vcpu, BigInt.asUintN(64, args[2] + BigInt(done)), sizeBytes);
      if (view === undefined) return EFAULT;
      log.write(new Uint8Array(view.buffer, view.byteOffset, sizeBytes));
    }
    return 0n;
  };
}
