import type { HostTcp, TcpEvents } from '../../../ports/host-sockets.ts';
import { ByteQueue } from './byte-queue.ts';
import { TcpFlag, type TcpSegment } from './segment.ts';

/** Host data kept for the guest; beyond it the host's connection is paused until half of it has gone. */
const SEND_BUFFER_BYTES = 256 * 1024;
/** Guest data that the host's connection may hold back. */
const RECEIVE_BUFFER_BYTES = 65_535;
/** What a host that names no MSS takes (RFC 9293, 3.7.1), and the least that is worth sending. */
const DEFAULT_MSS = 536;
const LEAST_MSS = 64;
const FIRST_TIMEOUT_MS = 1000;
const LONGEST_TIMEOUT_MS = 16_000;
const MOST_RETRIES = 8;
const DUPLICATES_FOR_RETRANSMIT = 3;

const EMPTY = new Uint8Array(0);

/** What a connection needs of its surroundings. */
export interface ConnectionLink {
  /** Largest segment that fits a frame, bytes of data. */
  readonly mss: number;
  /** Our initial sequence number. */
  readonly initialSequence: number;
  /** The link is busy: segments with data wait until {@link TcpConnection.output} is called again. */
  readonly congested: boolean;
  /** Ports and addresses are filled in by the receiver. */
  send(segment: Omit<TcpSegment, 'sourcePort' | 'destinationPort'>): void;
  after(delayMs: number, callback: () => void): () => void;
  /** The connection is over. */
  closed(): void;
}

/**
 * `connecting`: the guest has called, the host's connection is being made. `answering`: our SYN is on its way in answer
 * to the guest's. `calling`: our SYN calls the guest. (RFC 9293, 3.3.2 calls the last two SYN-RECEIVED and SYN-SENT;
 * the states after ESTABLISHED are in the fields about FIN.)
 */
type Phase = 'connecting' | 'answering' | 'calling' | 'established' | 'closed';

/** `a` before `b`, as sequence numbers go (RFC 9293, 3.4). */
function before(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

/** One TCP connection of the guest's, ended here and joined to one of the host's. */
export class TcpConnection implements TcpEvents {
  readonly #link: ConnectionLink;
  #host: HostTcp | undefined;
  #phase: Phase = 'connecting';
  /** SND.UNA, SND.NXT and RCV.NXT. */
  #unacknowledged: number;
  #next: number;
  #expected = 0;
  /** SND.WND in bytes, and the shift that the guest asked for. */
  #window = 0;
  #windowShift = 0;
  #mss = DEFAULT_MSS;
  readonly #queue = new ByteQueue();
  #paused = false;
  /** The host sends no more; FIN follows the queue. */
  #hostEnded = false;
  #finSent = false;
  #finAcknowledged = false;
  #guestEnded = false;
  /** The guest was told that there is no room. */
  #windowClosed = false;
  #cancelTimer: (() => void) | undefined;
  #retries = 0;
  #duplicates = 0;

  constructor(link: ConnectionLink) {
    this.#link = link;
    this.#unacknowledged = link.initialSequence;
    this.#next = link.initialSequence;
  }

  /** The guest calls: `connect` makes the host's connection, which tells this object of its events. */
  accept(syn: TcpSegment, connect: (events: TcpEvents) => HostTcp): void {
    this.#learn(syn);
    this.#host = connect(this);
  }

  /** The host calls the guest on behalf of a connection that it has already. */
  call(host: HostTcp): void {
    this.#host = host;
    host.pause();
    this.#paused = true;
    this.#phase = 'calling';
    this.#sendSyn();
  }

  /** Over at once: the guest gets RST if `tell`, the host's connection is cut. */
  abort(tell: boolean): void {
    if (this.#phase === 'closed') return;
    if (tell) this.#send(TcpFlag.RST | TcpFlag.ACK, EMPTY);
    this.#host?.destroy();
    this.#finish();
  }

  // --- the host's side -------------------------------------------------------------------------------------------

  onConnect(): void {
    if (this.#phase !== 'connecting') return;
    this.#phase = 'answering';
    this.#sendSyn();
  }

  onData(bytes: Uint8Array): void {
    this.#queue.push(bytes);
    if (!this.#paused && this.#queue.length >= SEND_BUFFER_BYTES) {
      this.#paused = true;
      this.#host?.pause();
    }
    this.output();
  }

  onEnd(): void {
    this.#hostEnded = true;
    this.output();
  }

  onDrain(): void {
    if (this.#windowClosed && this.#phase === 'established') this.#acknowledge();
  }

  onClose(failed: boolean): void {
    this.#host = undefined;
    if (failed || !this.#guestEnded) this.abort(true);
    else this.onEnd();
  }

  // --- the guest's side ------------------------------------------------------------------------------------------

  /** A segment of the guest's for this connection. */
  receive(segment: TcpSegment): void {
    const { flags } = segment;
    const phase = this.#phase;
    if ((flags & TcpFlag.RST) !== 0) this.#reset(segment);
    else if (phase === 'calling') this.#answered(segment);
    else if ((flags & TcpFlag.SYN) !== 0) this.#calledAgain();
    else if (phase !== 'connecting' && (flags & TcpFlag.ACK) !== 0) this.#receiveInSequence(segment);
  }

  /** A SYN for a connection that is known: in `connecting` the answer comes when the host's connection is there. */
  #calledAgain(): void {
    if (this.#phase === 'answering') this.#sendSyn();
    else if (this.#phase === 'established') this.#acknowledge();
  }

  #receiveInSequence(segment: TcpSegment): void {
    if (!this.#acknowledged(segment)) return;
    this.#takeData(segment);
    this.output();
    this.#finishIfDone();
  }

  /** Only a RST that fits exactly counts (RFC 5961, 3.2). */
  #reset({ sequence, acknowledgement, flags }: TcpSegment): void {
    const refused = this.#phase === 'calling' && (flags & TcpFlag.ACK) !== 0 && acknowledgement === this.#next;
    if (refused || this.#phase === 'connecting' || sequence === this.#expected) this.abort(false);
  }

  #answered(segment: TcpSegment): void {
    const wanted = TcpFlag.SYN | TcpFlag.ACK;
    if ((segment.flags & wanted) !== wanted || segment.acknowledgement !== this.#next) return;
    this.#learn(segment);
    this.#unacknowledged = this.#next;
    // The window of a SYN is not scaled (RFC 7323, 2.2).
    this.#window = segment.window;
    this.#establish();
    this.#acknowledge();
    this.#unpause();
  }

  #learn({ sequence, mss, windowShift, window }: TcpSegment): void {
    this.#expected = (sequence + 1) >>> 0;
    this.#mss = Math.min(this.#link.mss, Math.max(LEAST_MSS, mss ?? DEFAULT_MSS));
    this.#windowShift = windowShift ?? 0;
    this.#window = window;
  }

  #establish(): void {
    this.#phase = 'established';
    this.#settleTimer();
  }

  /** Take note of an acknowledgement and the window; `false`: it is for something that was never sent. */
  #acknowledged({ acknowledgement, window, data, flags }: TcpSegment): boolean {
    if (before(this.#next, acknowledgement)) {
      this.#acknowledge();
      return false;
    }
    if (this.#phase === 'answering') {
      if (acknowledgement !== this.#next) return false;
      this.#unacknowledged = acknowledgement;
      this.#establish();
    }
    const scaled = window << this.#windowShift;
    const gone = (acknowledgement - this.#unacknowledged) >>> 0;
    const progress = before(this.#unacknowledged, acknowledgement);
    if (progress) this.#forget(gone);
    else if (gone === 0)
      this.#noteDuplicate(scaled === this.#window && data.length === 0 && (flags & TcpFlag.FIN) === 0);
    this.#window = scaled;
    this.#retries = 0;
    if (progress) this.#settleTimer();
    return true;
  }

  /** So many more have arrived. */
  #forget(sizeBytes: number): void {
    const ofData = Math.min(sizeBytes, this.#queue.length);
    this.#queue.drop(ofData);
    if (sizeBytes > ofData) this.#finAcknowledged = true;
    this.#unacknowledged = (this.#unacknowledged + sizeBytes) >>> 0;
    this.#duplicates = 0;
    if (this.#queue.length <= SEND_BUFFER_BYTES / 2) this.#unpause();
  }

  #unpause(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#host?.resume();
  }

  #noteDuplicate(isDuplicate: boolean): void {
    if (!isDuplicate || this.#next === this.#unacknowledged) return;
    if (++this.#duplicates === DUPLICATES_FOR_RETRANSMIT) this.#goBack();
  }

  #takeData({ sequence, data, flags }: TcpSegment): void {
    const isFin = (flags & TcpFlag.FIN) !== 0;
    if (data.length === 0 && !isFin) return;
    const known = (this.#expected - sequence) | 0;
    const room = this.#room();
    // What came before is acknowledged again; what leaves a gap has to be sent again.
    const fits = known >= 0 && known <= data.length && !this.#guestEnded && data.length - known <= room;
    if (fits) {
      const fresh = data.subarray(known);
      if (fresh.length > 0) this.#host?.write(fresh);
      this.#expected = (this.#expected + fresh.length) >>> 0;
      if (isFin) this.#takeFin();
    }
    this.#acknowledge();
  }

  #takeFin(): void {
    this.#guestEnded = true;
    this.#expected = (this.#expected + 1) >>> 0;
    this.#host?.end();
  }

  // --- sending ---------------------------------------------------------------------------------------------------

  /** Send what the guest's window and the link have room for. */
  output(): void {
    if (this.#phase !== 'established') return;
    for (;;) {
      const offset = this.#inFlight();
      const left = this.#queue.length - offset;
      const sizeBytes = Math.min(left, this.#mss, this.#window - offset);
      if (left <= 0 || sizeBytes <= 0 || this.#link.congested) break;
      this.#send(TcpFlag.ACK | (sizeBytes === left ? TcpFlag.PSH : 0), this.#queue.copy(offset, sizeBytes));
      this.#next = (this.#next + sizeBytes) >>> 0;
    }
    if (this.#hostEnded && !this.#finSent && this.#inFlight() === this.#queue.length) {
      this.#send(TcpFlag.FIN | TcpFlag.ACK, EMPTY);
      this.#next = (this.#next + 1) >>> 0;
      this.#finSent = true;
    }
    this.#startTimer();
  }

  #inFlight(): number {
    return (this.#next - this.#unacknowledged) >>> 0;
  }

  #sendSyn(): void {
    const flags = this.#phase === 'calling' ? TcpFlag.SYN : TcpFlag.SYN | TcpFlag.ACK;
    const window = this.#room();
    const acknowledgement = this.#phase === 'calling' ? 0 : this.#expected;
    const { mss, initialSequence: sequence } = this.#link;
    this.#link.send({ sequence, acknowledgement, flags, window, data: EMPTY, mss, windowShift: 0 });
    this.#next = (sequence + 1) >>> 0;
    this.#startTimer();
  }

  #acknowledge(): void {
    this.#send(TcpFlag.ACK, EMPTY);
  }

  #send(flags: number, data: Uint8Array): void {
    const window = this.#room();
    this.#windowClosed = window === 0;
    this.#link.send({ sequence: this.#next, acknowledgement: this.#expected, flags, window, data });
  }

  /** What may still come from the guest, bytes. */
  #room(): number {
    return Math.max(0, RECEIVE_BUFFER_BYTES - (this.#host?.pendingBytes ?? 0));
  }

  // --- again -----------------------------------------------------------------------------------------------------

  #startTimer(): void {
    const waiting = this.#inFlight() > 0 || this.#queue.length > 0;
    if (!waiting || this.#cancelTimer !== undefined || this.#phase === 'closed') return;
    const delayMs = Math.min(FIRST_TIMEOUT_MS * 2 ** this.#retries, LONGEST_TIMEOUT_MS);
    this.#cancelTimer = this.#link.after(delayMs, () => {
      this.#cancelTimer = undefined;
      this.#timeout();
    });
  }

  /** Something has arrived: wait anew for the rest. */
  #settleTimer(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#startTimer();
  }

  #timeout(): void {
    if (this.#retries++ >= MOST_RETRIES) this.abort(true);
    else if (this.#phase === 'established') this.#retransmit();
    else this.#sendSyn();
  }

  #retransmit(): void {
    this.#goBack();
    // A window that stays closed is probed with a byte beyond it (RFC 9293, 3.8.6.1).
    if (this.#window === 0 && this.#queue.length > 0) {
      this.#send(TcpFlag.ACK, this.#queue.copy(0, 1));
      this.#next = (this.#next + 1) >>> 0;
    }
    this.#startTimer();
  }

  /** From the first byte that the guest has not acknowledged. */
  #goBack(): void {
    this.#next = this.#unacknowledged;
    this.#finSent = this.#finAcknowledged;
    this.output();
  }

  #finishIfDone(): void {
    if (this.#phase !== 'established' || !this.#guestEnded || !this.#finAcknowledged) return;
    this.#finish();
  }

  #finish(): void {
    if (this.#phase === 'closed') return;
    this.#phase = 'closed';
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#link.closed();
  }
}
