import { PolyvisorError } from '@polyvisor/plugin-api';
import { catalogue } from '../../packages/cli/src/catalogue/index.ts';
import { ProgressLine } from '../../packages/cli/src/progress.ts';

/** Why a guest of the catalogue cannot be had here; `undefined`: it is in the cache now. Throws it if `CI` is set. */
async function whyMissing(name: string): Promise<string | undefined> {
  try {
    await catalogue[name].load(new ProgressLine());
    return undefined;
  } catch (error) {
    if (process.env.CI || !(error instanceof PolyvisorError)) throw error;
    return error.oneLine;
  }
}

export interface CatalogueGuestTests {
  /** The suite's title, with the reason if it is skipped. */
  readonly title: string;
  readonly skipped: boolean;
}

/** For `describe.skipIf`: fetches the guest, so that no test waits for a download. */
export async function testsOf(name: string, title: string): Promise<CatalogueGuestTests> {
  const reason = await whyMissing(name);
  return reason === undefined ? { title, skipped: false } : { title: `${title} (skipped: ${reason})`, skipped: true };
}
