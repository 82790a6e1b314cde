import { Gpr, type OpsManifest, PolyvisorError } from '@polyvisor/plugin-api';
import { latin1 } from '../loader/image/byte-reader.ts';
import type { Machine } from '../machine/index.ts';
import { OpsCalls } from '../machine/native/boot-descriptor.ts';
import { type HandOverHost, HandOvers, refusalAnswer } from './hand-overs.ts';
import { entryBytes, readEntry } from './link/entries.ts';
import type { LiveOps } from './live-ops.ts';
import { parseManifestText, readManifest } from './manifest.ts';
import { moduleError } from './module-error.ts';

type MachineVcpu = Machine['vcpus'][number];

const Call = {
  register: OpsCalls.FIRST,
  unregister: OpsCalls.FIRST + 1,
  state: OpsCalls.FIRST + 2,
  handOver: OpsCalls.FIRST + 3,
} as const;
/** What `register` and `state` answer; errors are negative: the number of the PV code. */
const Answer = { none: 0n, pending: 1n, there: 2n } as const;
const MOST_TEXT_BYTES = 4096;
/** Registrations that wait for a moment at which the kernel can be changed. */
const MOST_PENDING = 16;
/** How long one may wait, by the host's clock. */
const PATIENCE_NS = 10_000_000_000;

export interface RegistrationHost {
  /** The operations of the guest's kernel; `undefined`: it is not one that is known, or has not booted. */
  live(): LiveOps | undefined;
  report(message: string): void;
  /** Takes what a boot loader in the guest hands over; see {@link HandOvers}. */
  handOver: HandOverHost['handOver'];
}

/** One slot of a guest's table. */
interface TableEntry {
  readonly slot: string;
  readonly gva: bigint;
  /** Where the guest wants to have the address of what was in the slot; 0: nowhere. */
  readonly previousAt: bigint;
}

const unreadable = (what: string) => moduleError('PV5029', `the guest has registered operations with ${what}`);

/** Only what has come this way can be replaced or taken out this way. */
const isOwn = (live: LiveOps, name: string) =>
  live.modules.some(({ manifest, kind }) => kind === 'guestTable' && manifest.name === name);

/**
 * Calls by which a guest's kernel registers operations of its own: docs/ops-modules.md, "A guest's own table"; and the one by
 * which its boot loader hands some over. Everything that the guest says is hostile; what is wrong is answered with an error and
 * changes nothing.
 */
export class GuestRegistrations {
  readonly #machine: Machine;
  readonly #host: RegistrationHost;
  readonly #handOvers: HandOvers;
  readonly #pending = new Set<string>();

  /** The guest is told of the calls from now on. */
  constructor(machine: Machine, host: RegistrationHost) {
    this.#machine = machine;
    this.#host = host;
    this.#handOvers = new HandOvers(machine, {
      handOver: (kind, bytes) => host.handOver(kind, bytes),
      refused: (error) => host.report(`not taken from the guest: ${error.oneLine}`),
    });
    machine.takesOps = true;
    machine.kernelCalls.add((vcpu) => this.#take(vcpu));
  }

  #take(vcpu: MachineVcpu): boolean {
    const number = Number(vcpu.gpr[Gpr.RAX] & 0xffff_ffffn);
    if (number < OpsCalls.FIRST || number >= OpsCalls.FIRST + OpsCalls.COUNT) return false;
    const { rip } = vcpu;
    const answer = this.#answer(vcpu, number);
    vcpu.gpr[Gpr.RAX] = BigInt.asUintN(vcpu.engine.mode === 'long64' ? 64 : 32, answer);
    vcpu.rip = rip + BigInt(vcpu.engine.exitLengthBytes);
    return true;
  }

  #answer(vcpu: MachineVcpu, number: number): bigint {
    try {
      if (number === Call.handOver) {
        this.#handOvers.take(vcpu);
        // It is answered before anything else happens, and later than this.
        return 0n;
      }
      if (number === Call.register) return this.#register(vcpu);
      const name = this.#text(vcpu, Gpr.RBX, Gpr.RCX);
      return number === Call.unregister ? this.#unregister(name) : this.#state(name);
    } catch (error) {
      if (!(error instanceof PolyvisorError)) throw error;
      const what = number === Call.handOver ? 'taken from' : 'registered by';
      this.#host.report(`not ${what} the guest: ${error.oneLine}`);
      return refusalAnswer(error);
    }
  }

  #register(vcpu: MachineVcpu): bigint {
    const where = "the guest's table";
    const manifest = readManifest(parseManifestText(this.#text(vcpu, Gpr.RBX, Gpr.RCX), where), where);
    const live = this.#host.live();
    if (!live) {
      const fix = 'register when the kernel has booted';
      throw new PolyvisorError('PV5011', 'the guest runs no kernel whose operations are known', fix, 10);
    }
    const entries = this.#entries(vcpu, live.kernel.wordBytes);
    const table = new Map(entries.map(({ slot, gva }) => [slot, gva]));
    if (this.#pending.has(manifest.name) || this.#pending.size >= MOST_PENDING) throw unreadable('others under way');
    const known = live.modules.some((module) => module.manifest.name === manifest.name);
    if (known && !isOwn(live, manifest.name)) throw unreadable("the name of a module of the host's");
    live.checkTable(manifest, table);
    this.#tellPrevious(vcpu, live, entries);
    this.#pending.add(manifest.name);
    void this.#load(live, manifest, table);
    return Answer.pending;
  }

  async #load(live: LiveOps, manifest: OpsManifest, table: ReadonlyMap<string, bigint>): Promise<void> {
    const title = `ops module ${manifest.name} ${manifest.version} of the guest`;
    try {
      const attempt = () => {
        const change = live.loadTable(manifest, table);
        if (change) this.#pending.delete(manifest.name);
        return change;
      };
      const change = await this.#machine.attempt(attempt, PATIENCE_NS);
      this.#host.report(
        change ? `${title}: ${change.sites} call sites written` : `${title}: no moment was found for it`,
      );
    } catch (error) {
      if (!(error instanceof PolyvisorError)) throw error;
      this.#host.report(`${title}: ${error.oneLine}`);
    } finally {
      this.#pending.delete(manifest.name);
    }
  }

  #unregister(name: string): bigint {
    const live = this.#host.live();
    if (!live || !isOwn(live, name)) {
      const what = `no ops module ${JSON.stringify(name)} has been registered by the guest`;
      throw new PolyvisorError('PV5017', what, '`vm ops list` names those that are', 10);
    }
    live.unload(name);
    return 0n;
  }

  #state(name: string): bigint {
    if (this.#pending.has(name)) return Answer.pending;
    const live = this.#host.live();
    return live && isOwn(live, name) ? Answer.there : Answer.none;
  }

  #entries(vcpu: MachineVcpu, wordBytes: 4 | 8): TableEntry[] {
    const count = this.#register32(vcpu, Gpr.RSI);
    if (count === 0 || count > OpsCalls.MOST_ENTRIES) throw unreadable(`a table of ${count} entries`);
    const sizeBytes = entryBytes(wordBytes);
    const bytes = this.#read(vcpu, vcpu.gpr[Gpr.RDX], count * sizeBytes);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const word = (at: number) => (wordBytes === 8 ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true)));
    const slots = new Set<string>();
    return Array.from({ length: count }, (_, i) => {
      const entry = readEntry(bytes, i * sizeBytes, wordBytes);
      if (typeof entry === 'string') throw unreadable(`an entry ${i} that cannot be read: ${entry}`);
      if (slots.has(entry.slot)) throw unreadable(`two entries for ${entry.slot}`);
      slots.add(entry.slot);
      const gva = word(entry.functionAt);
      if (!vcpu.translate(gva, 'execute', { as: 'supervisor' }).ok) {
        throw unreadable(`a function for ${entry.slot} at 0x${gva.toString(16)}, where no code of the kernel's is`);
      }
      return { slot: entry.slot, gva, previousAt: word(entry.previousAt) };
    });
  }

  /** Before it is loaded: the guest's memory is certain to be mapped only while it calls. */
  #tellPrevious(vcpu: MachineVcpu, live: LiveOps, entries: readonly TableEntry[]): void {
    const { wordBytes } = live.kernel;
    const wanted = entries.filter(({ previousAt }) => previousAt !== 0n);
    const places = wanted.map(({ previousAt }) => vcpu.translate(previousAt, 'write', { as: 'supervisor' }));
    if (places.some(({ ok }) => !ok)) throw unreadable('a place for what was there before that cannot be written');
    for (const { slot, previousAt } of wanted) {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setBigUint64(0, live.previousOf(slot), true);
      if (!vcpu.write(previousAt, bytes.subarray(0, wordBytes), { as: 'supervisor' }).ok) {
        throw unreadable('a place for what was there before that cannot be written');
      }
    }
  }

  #text(vcpu: MachineVcpu, at: number, sizeAt: number): string {
    const sizeBytes = this.#register32(vcpu, sizeAt);
    if (sizeBytes === 0 || sizeBytes > MOST_TEXT_BYTES) throw unreadable(`a text of ${sizeBytes} bytes`);
    return latin1(this.#read(vcpu, vcpu.gpr[at], sizeBytes));
  }
  #register32(vcpu: MachineVcpu, index: number): number {
    return Number(vcpu.gpr[index] & 0xffff_ffffn);
  }
  #read(vcpu: MachineVcpu, gva: bigint, sizeBytes: number): Uint8Array {
    const found = vcpu.read(gva, sizeBytes, { as: 'supervisor' });
    if (!found.ok) throw unreadable(`something at 0x${gva.toString(16)} that is not mapped`);
    return found.bytes;
  }
}
