import { say } from '../diagnostics.ts';
import { type Claim, claimName, controlDirectory } from './directory.ts';
import { controlMethods } from './methods.ts';
import { nameFrom } from './names.ts';
import type { RunningVm } from './running-vm.ts';
import { ControlServer } from './server.ts';

/** The control socket of one `vm run`. */
export class VmControl {
  readonly #server: ControlServer;
  readonly #claim: Claim;

  private constructor(server: ControlServer, claim: Claim) {
    this.#server = server;
    this.#claim = claim;
  }

  /**
   * Opens it under `wanted`, or under a free name made of the image's. Where there can be none, a VM without a wanted
   * name does without, and that is said.
   */
  static async open(vm: RunningVm, wanted: string | undefined): Promise<VmControl | undefined> {
    try {
      const { image, pid, startedAt } = vm.info();
      const server = new ControlServer(controlMethods(vm));
      const names = { wanted, base: nameFrom(image) };
      const claim = await claimName(controlDirectory(), server.net, names, { pid, image, startedAt });
      vm.name = claim.name;
      return new VmControl(server, claim);
    } catch (error) {
      if (wanted !== undefined) throw error;
      say(`no control socket: ${(error as Error).message}`);
      return undefined;
    }
  }

  /** Tells the clients how it ended, and lets the name go. */
  async close(exitCode: number, reason: string): Promise<void> {
    this.#server.broadcast('vm.ended', { exitCode, reason });
    this.#claim.release();
    await this.#server.close();
  }
}
