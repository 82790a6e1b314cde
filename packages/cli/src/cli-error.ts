import { PolyvisorError } from '@polyvisor/plugin-api';
import { ExitCode } from './exit-codes.ts';

/** `PV3001`: the command line is wrong. */
export function usageError(what: string, fix: string): PolyvisorError {
  return new PolyvisorError('PV3001', what, fix, ExitCode.USAGE);
}

/** `PV3002`: a file that was named cannot be read or written. */
export function fileError(what: string, cause: unknown, exitCode: number = ExitCode.IMAGE): PolyvisorError {
  return new PolyvisorError('PV3002', `${what}: ${reasonOf(cause)}`, 'check the path and its permissions', exitCode);
}

/** `PV3003`: something could not be fetched. */
export function fetchError(what: string, fix: string): PolyvisorError {
  return new PolyvisorError('PV3003', what, fix, ExitCode.IMAGE);
}

/**
 * About control sockets. `PV3010`: there can be none. `PV3011`: no such VM. `PV3012`: the name is taken.
 * `PV3013`: the VM refuses. `PV3014`: the VM does not answer, or is gone.
 */
export function controlError(
  code: 'PV3010' | 'PV3011' | 'PV3012' | 'PV3013' | 'PV3014',
  what: string,
  fix: string,
): PolyvisorError {
  return new PolyvisorError(code, what, fix, ExitCode.CONTROL);
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'permission denied',
  EISDIR: 'is a directory',
  ENOTDIR: 'a part of the path is not a directory',
  ENOSPC: 'no space left on the disk',
  EROFS: 'the file system is read-only',
};

function reasonOf(cause: unknown): string {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  return (code && REASONS[code]) ?? firstLine(cause);
}

/** The first line of an error's message. */
export function firstLine(cause: unknown): string {
  return String(cause instanceof Error ? cause.message : cause).split('\n')[0];
}
