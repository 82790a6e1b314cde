/** What `vm` exits with; the table for people is in docs/cli.md. */
export const ExitCode = {
  /** The guest powered off, or the expected text appeared. */
  OK: 0,
  /** A defect of our own. */
  INTERNAL: 1,
  /** Unknown flag, bad value, a plug-in that cannot be found or is refused. */
  USAGE: 2,
  /** The image cannot be read, fetched or started. */
  IMAGE: 3,
  /** The guest crashed, or its CPU shut down (triple fault). */
  GUEST_CRASH: 4,
  TIMEOUT: 5,
  /** The guest ended before the expected text appeared. */
  NOT_EXPECTED: 6,
  /** The guest rebooted under --no-reboot. */
  REBOOT: 7,
  /** The operator left with Ctrl-]. */
  LEFT: 8,
  /** The guest suspended itself, or asked for a soft reset. */
  SUSPENDED: 9,
  /** A command to a running VM: there is no such VM, it refused, or it does not answer. */
  CONTROL: 10,
  /** Tests in the guest told the test device that they failed. */
  TESTS_FAILED: 11,
  SIGINT: 130,
  SIGTERM: 143,
} as const;
