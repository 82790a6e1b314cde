import { parseCommandLine, type Request } from './command-line.ts';
import { reportFailure } from './diagnostics.ts';
import { ExitCode } from './exit-codes.ts';
import { importFilesBy, type Loader } from './node/import-file.ts';

/** `vm … | head`: whoever read the output is gone, which is no failure. A run notices by itself, and ends its guest. */
function endWhenNobodyReads(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? ExitCode.SIGTERM : reportFailure(error));
  });
}

async function main(args: readonly string[], loader: Loader): Promise<number> {
  const request = parseCommandLine(args);
  if (request.kind !== 'run') endWhenNobodyReads();
  const exitCode = await answer(request);
  if (request.kind !== 'help') loader.keepCode?.();
  return exitCode;
}

async function answer(request: Request): Promise<number> {
  // The machine is large; help and usage errors do without it.
  switch (request.kind) {
    case 'help':
      return ExitCode.OK;
    case 'run':
      return (await import('./run.ts')).run(request.options);
    case 'entries':
      return (await import('./entries/index.ts')).entries(request.options);
    case 'compare':
      return (await import('./functions/compare.ts')).compare(request.options);
    case 'opsReport':
      return (await import('./ops/report.ts')).opsReport(request.options);
    case 'ops':
      return (await import('./ops/commands.ts')).opsCommand(request.request);
    case 'plugin':
      return (await import('./plugins/commands.ts')).pluginCommand(request.request);
    case 'control':
      return (await import('./control/commands.ts')).control(request.request);
  }
}

/** Does what the command line says and ends the process. */
export async function start(args: readonly string[], loader: Loader): Promise<never> {
  // A failure outside of any await must not show our stack either; exit handlers restore the terminal.
  process.on('uncaughtException', (error) => process.exit(reportFailure(error)));
  importFilesBy(loader);
  const exitCode = await main(args, loader).catch(reportFailure);
  // Output to a pipe is asynchronous; what was written must arrive before the process ends.
  await new Promise<void>((resolve) => process.stdout.write('', () => resolve()));
  await new Promise<void>((resolve) => process.stderr.write('', () => resolve()));
  process.exit(exitCode);
}
