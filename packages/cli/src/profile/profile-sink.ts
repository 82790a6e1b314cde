import { closeSync, openSync, writeSync } from 'node:fs';
import { fileError } from '../cli-error.ts';
import { ExitCode } from '../exit-codes.ts';
import { toCollapsed, toSpeedscope } from './formats.ts';
import type { GuestProfile } from './profile.ts';

const ROWS_SHOWN = 25;

/** The file of `--profile`, opened before the guest starts, so that nobody runs a guest for nothing. */
export class ProfileSink {
  readonly #file: string;
  readonly #descriptor: number;

  constructor(file: string) {
    this.#file = file;
    try {
      this.#descriptor = openSync(file, 'w');
    } catch (error) {
      throw fileError(`cannot write the profile ${file}`, error, ExitCode.USAGE);
    }
  }

  /** Writes the flame graph: speedscope's format to `*.json`, else collapsed stacks. */
  write(profile: GuestProfile, imageName: string): void {
    const stacks = profile.stacks();
    const text = this.#file.endsWith('.json') ? toSpeedscope(stacks, imageName) : toCollapsed(stacks);
    const bytes = Buffer.from(text);
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#descriptor, bytes, at);
    } catch (error) {
      throw fileError(`cannot write the profile ${this.#file}`, error, ExitCode.USAGE);
    }
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  /** The hottest symbols, as a table. */
  table(profile: GuestProfile): string[] {
    const { instructions, sampleCount } = profile;
    const rows = profile.rows();
    const share = (part: number) => `${((100 * part) / Math.max(1, instructions)).toFixed(1)}%`.padStart(6);
    const shown = rows.slice(0, ROWS_SHOWN).map(({ name, selfInstructions, totalInstructions }) => {
      return `${share(selfInstructions)}  ${share(totalInstructions)}  ${name}`;
    });
    const millions = (instructions / 1e6).toFixed(1);
    return [
      `profile: ${sampleCount} samples of ${millions} million instructions, ${rows.length} symbols, in ${this.#file}`,
      '  self   total  symbol',
      ...shown,
    ];
  }
}
