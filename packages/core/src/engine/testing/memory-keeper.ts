/** For tests: keeps code as long as it is there, and counts what it is asked for. */
import type { CodeKeeper } from '../code-keeper.ts';
import { type KeptModule, KeptRegions } from '../region/kept-regions.ts';

export class MemoryKeeper implements CodeKeeper {
  readonly regions = new KeptRegions();
  readonly kept: KeptModule[] = [];
  instances = 0;

  compile(bytes: Uint8Array): WebAssembly.Module {
    return new WebAssembly.Module(bytes as BufferSource);
  }
  moduleOf({ bytes }: KeptModule): WebAssembly.Module {
    return this.compile(bytes);
  }
  named(_name: string, generate: () => Uint8Array): WebAssembly.Module {
    return this.compile(generate());
  }
  keep(regions: KeptModule): void {
    this.kept.push(regions);
    this.regions.add(regions);
  }
  instantiated(): void {
    this.instances++;
  }
}
