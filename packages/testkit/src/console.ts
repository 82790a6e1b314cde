import type { ConsolePort } from '@polyvisor/plugin-api';

/** Keeps what the guest wrote; `type` plays the operator. */
export class FakeConsole implements ConsolePort {
  /** All output so far, one character a byte (Latin-1). */
  output = '';
  #listener: ((bytes: Uint8Array) => void) | undefined;

  write(bytes: Uint8Array): void {
    for (const byte of bytes) this.output += String.fromCharCode(byte);
  }
  onInput(listener: (bytes: Uint8Array) => void): void {
    this.#listener = listener;
  }

  /** What the operator types; lost when nobody listens, as on a real line. */
  type(text: string): void {
    this.#listener?.(new TextEncoder().encode(text));
  }
}
