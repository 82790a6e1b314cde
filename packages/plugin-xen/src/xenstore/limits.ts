/** Limits of the protocol (public/io/xs_wire.h). */
export const MAX_PAYLOAD_BYTES = 4096;
export const MAX_ABSOLUTE_PATH = 3072;
export const MAX_RELATIVE_PATH = 2048;

/** What one unprivileged domain may hold, as xenstored's defaults have it. */
export const Quota = {
  NODES: 1000,
  VALUE_BYTES: 2048,
  WATCHES: 128,
  TRANSACTIONS: 10,
  PERMISSIONS: 5,
  /** Unread replies and watch events; further events are dropped. */
  QUEUED_BYTES: 1 << 20,
} as const;
