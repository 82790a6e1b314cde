/** Message types (public/io/xs_wire.h). */
export const StoreMessage = {
  CONTROL: 0,
  DIRECTORY: 1,
  READ: 2,
  GET_PERMS: 3,
  WATCH: 4,
  UNWATCH: 5,
  TRANSACTION_START: 6,
  TRANSACTION_END: 7,
  INTRODUCE: 8,
  RELEASE: 9,
  GET_DOMAIN_PATH: 10,
  WRITE: 11,
  MKDIR: 12,
  RM: 13,
  SET_PERMS: 14,
  WATCH_EVENT: 15,
  ERROR: 16,
  IS_DOMAIN_INTRODUCED: 17,
  RESUME: 18,
  SET_TARGET: 19,
  RESET_WATCHES: 21,
  DIRECTORY_PART: 22,
} as const;

/** struct xsd_sockmsg: type, req_id, tx_id, len. */
export const HEADER_BYTES = 16;

export interface MessageHeader {
  readonly type: number;
  readonly requestId: number;
  readonly transactionId: number;
  readonly payloadBytes: number;
}

export function parseHeader(bytes: Uint8Array): MessageHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  return {
    type: view.getUint32(0, true),
    requestId: view.getUint32(4, true),
    transactionId: view.getUint32(8, true),
    payloadBytes: view.getUint32(12, true),
  };
}

export function formatMessage(type: number, requestId: number, transactionId: number, payload: Uint8Array): Uint8Array {
  const message = new Uint8Array(HEADER_BYTES + payload.length);
  const view = new DataView(message.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, requestId, true);
  view.setUint32(8, transactionId, true);
  view.setUint32(12, payload.length, true);
  message.set(payload, HEADER_BYTES);
  return message;
}

// Values may be any bytes; in strings they are one character a byte.
export function encode(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

export function decode(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/** Strings that each end with a zero byte; what comes after the last zero is not one of them. */
export function splitStrings(payload: Uint8Array): string[] {
  return decode(payload).split('\0').slice(0, -1);
}

/** Strings with a zero byte after each. */
export function joinStrings(strings: readonly string[]): Uint8Array {
  return encode(strings.map((text) => `${text}\0`).join(''));
}
