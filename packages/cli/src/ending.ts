import { ExitCode } from './exit-codes.ts';

/** Why the CLI ended the guest from outside. */
export interface Cause {
  readonly exitCode: number;
  /** A line for stderr. */
  readonly message?: string;
}

/** The operator's, the clock's or the watcher's wish to end: the first one counts. */
export class Ending {
  #cause: Cause | undefined;
  #stop: (() => void) | undefined;

  get cause(): Cause | undefined {
    return this.#cause;
  }

  /** From now on a request stops this machine; before, there is nothing to stop but the process. */
  onRequest(stop: () => void): void {
    this.#stop = stop;
    if (this.#cause) stop();
  }

  request(cause: Cause): void {
    this.#cause ??= cause;
    this.#stop?.();
  }

  /** SIGINT and SIGTERM end the guest; before there is one, or when asked twice, the process. */
  handleSignals(): () => void {
    const handler = (exitCode: number) => () => {
      const again = this.#cause !== undefined;
      if (!this.#stop || again) process.exit(exitCode);
      this.request({ exitCode });
    };
    const onInterrupt = handler(ExitCode.SIGINT);
    const onTerminate = handler(ExitCode.SIGTERM);
    process.on('SIGINT', onInterrupt);
    process.on('SIGTERM', onTerminate);
    process.on('SIGHUP', onTerminate);
    return () => {
      process.off('SIGINT', onInterrupt);
      process.off('SIGTERM', onTerminate);
      process.off('SIGHUP', onTerminate);
    };
  }
}
