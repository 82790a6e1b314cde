import * as v from 'valibot';
import { controlError } from '../cli-error.ts';
import { openStdioConsole } from '../console/stdio.ts';
import { reportFailure, say } from '../diagnostics.ts';
import { ExitCode } from '../exit-codes.ts';
import type { ControlClient } from './client.ts';
import { endedSchema, outputSchema } from './protocol.ts';

/** What one request may carry of a large paste. */
const INPUT_CHUNK_BYTES = 16 * 1024;

/**
 * This terminal as the VM's console, until Ctrl-] or the end of the VM. Answers 0, or what `vm run` of that VM exits
 * with.
 */
export async function attach(name: string, client: ControlClient): Promise<number> {
  let leave: (exitCode: number) => void = () => {};
  const left = new Promise<number>((resolve) => {
    leave = resolve;
  });
  let ended: v.InferOutput<typeof endedSchema> | undefined;
  const terminal = openStdioConsole(
    () => leave(ExitCode.OK),
    () => leave(ExitCode.SIGTERM),
  );
  try {
    client.on('console.output', (params) => {
      if (v.is(outputSchema, params)) terminal.write(Buffer.from(params.data, 'base64'));
    });
    client.on('vm.ended', (params) => {
      if (v.is(endedSchema, params)) ended = params;
    });
    terminal.onInput((bytes) => void type(client, bytes).catch(reportFailure));
    await client.call('console.attach', {}, v.object({}));
    const exitCode = await Promise.race([left, client.closed]);
    if (exitCode !== undefined) {
      say(`detached; ${name} runs on`);
      return exitCode;
    }
  } finally {
    await terminal.close();
  }
  if (!ended) throw controlError('PV3014', `the connection to ${name} is closed`, '`vm ps` lists those that run');
  say(`${name}: ${ended.reason}`);
  return ended.exitCode;
}

async function type(client: ControlClient, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; at += INPUT_CHUNK_BYTES) {
    const data = Buffer.from(bytes.subarray(at, at + INPUT_CHUNK_BYTES)).toString('base64');
    await client.call('console.input', { data }, v.object({}));
  }
}
