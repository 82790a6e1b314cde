import type { NetworkBackend } from '@polyvisor/plugin-api';
import { GuestPort } from './guest-port.ts';

/** Length of the length before each frame: an unsigned 32-bit number, big-endian. */
const PREFIX_BYTES = 4;
const MTU = 1500;
const LEAST_FRAME_BYTES = 14;
/** Longer frames are skipped; a length beyond this means that the stream is something else. */
const MOST_FRAME_BYTES = 65_550;
/** Frames from the guest are dropped while this much waits in the socket. */
const MOST_PENDING_BYTES = 1 << 20;

/** The socket under a link. */
export interface FrameStream {
  /** Written and not gone out yet, bytes. */
  readonly pendingBytes: number;
  write(bytes: Uint8Array): void;
  /** Give up: what comes is no stream of frames. */
  fail(reason: string): void;
}

/**
 * An Ethernet link over a stream socket: before each frame its length (QEMU's `-netdev stream`; passt(1) serves it).
 */
export class StreamLink implements NetworkBackend {
  readonly mac: Uint8Array;
  readonly mtu = MTU;
  readonly #stream: FrameStream;
  readonly #port = new GuestPort();
  /** What has come of a frame that is not complete. */
  #pending = new Uint8Array(0);
  #dead = false;

  constructor(mac: Uint8Array, stream: FrameStream) {
    this.mac = mac;
    this.#stream = stream;
  }

  onReceive(take: (frame: Uint8Array) => boolean): void {
    this.#port.attach(take);
  }

  resume(): void {
    this.#port.resume();
  }

  send(frame: Uint8Array): void {
    if (this.#dead || frame.length > MOST_FRAME_BYTES || this.#stream.pendingBytes > MOST_PENDING_BYTES) return;
    const bytes = new Uint8Array(PREFIX_BYTES + frame.length);
    new DataView(bytes.buffer).setUint32(0, frame.length);
    bytes.set(frame, PREFIX_BYTES);
    this.#stream.write(bytes);
  }

  /** Bytes from the socket, cut anywhere. */
  received(bytes: Uint8Array): void {
    if (this.#dead) return;
    const all = new Uint8Array(this.#pending.length + bytes.length);
    all.set(this.#pending);
    all.set(bytes, this.#pending.length);
    const view = new DataView(all.buffer);
    let at = 0;
    while (all.length - at >= PREFIX_BYTES) {
      const sizeBytes = view.getUint32(at);
      if (sizeBytes > MOST_FRAME_BYTES) {
        this.#dead = true;
        this.#stream.fail(`a frame of ${sizeBytes} bytes was announced`);
        return;
      }
      const end = at + PREFIX_BYTES + sizeBytes;
      if (end > all.length) break;
      if (sizeBytes >= LEAST_FRAME_BYTES && sizeBytes <= LEAST_FRAME_BYTES + MTU) {
        this.#port.send(all.slice(at + PREFIX_BYTES, end));
      }
      at = end;
    }
    this.#pending = all.slice(at);
  }
}
