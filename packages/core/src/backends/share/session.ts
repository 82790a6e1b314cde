import type { ShareBackend, ShareSession } from '@polyvisor/plugin-api';
import type { HostFolder } from '../../ports/host-folder.ts';
import { Errno } from './errno.ts';
import { Fids, qidOf } from './fids.ts';
import { FolderError } from './folder-error.ts';
import { READ_REQUESTS } from './read-requests.ts';
import type { Request, RequestContext } from './request.ts';
import { FieldReader, FieldWriter, HEADER_BYTES, Message, NO_TAG } from './wire.ts';
import { WRITE_REQUESTS } from './write-requests.ts';

const VERSION = '9P2000.L';
/** Largest message that is offered; the client may ask for less. */
const MOST_MESSAGE_BYTES = 256 * 1024;
const LEAST_MESSAGE_BYTES = 4096;

/** A folder of the host's for a guest. */
export class FolderShare implements ShareBackend {
  readonly tag: string;
  readonly #folder: HostFolder;
  readonly #writable: boolean;

  constructor(tag: string, folder: HostFolder, writable: boolean) {
    this.tag = tag;
    this.#folder = folder;
    this.#writable = writable;
  }

  connect(): ShareSession {
    return new NinePSession(this.#folder, this.#writable);
  }
}

/** One connection: what the guest holds, and the size of messages it agreed to. */
class NinePSession implements ShareSession, RequestContext {
  readonly folder: HostFolder;
  readonly writable: boolean;
  readonly fids = new Fids();
  #maxMessageBytes = MOST_MESSAGE_BYTES;
  #greeted = false;

  constructor(folder: HostFolder, writable: boolean) {
    this.folder = folder;
    this.writable = writable;
  }

  get maxMessageBytes(): number {
    return this.#maxMessageBytes;
  }

  request(message: Uint8Array): Uint8Array {
    const view = new DataView(message.buffer, message.byteOffset, message.length);
    if (message.length < HEADER_BYTES) return rlerror(Errno.EPROTO, NO_TAG);
    const type = view.getUint8(4);
    const tag = view.getUint16(5, true);
    if (view.getUint32(0, true) !== message.length) return rlerror(Errno.EPROTO, tag);
    const reply = new FieldWriter();
    try {
      this.#run(type, new FieldReader(message), reply);
    } catch (error) {
      if (!(error instanceof FolderError)) throw error;
      return rlerror(error.errno, tag);
    }
    return reply.finish(type + 1, tag);
  }

  close(): void {
    this.fids.clear();
  }

  #run(type: number, fields: FieldReader, reply: FieldWriter): void {
    if (type === Message.VERSION) {
      this.#version(fields, reply);
      return;
    }
    const request = REQUESTS.get(type);
    if (request === undefined) throw new FolderError(Errno.EOPNOTSUPP, `request ${type} is not known`);
    if (!this.#greeted) throw new FolderError(Errno.EPROTO, 'the session begins with Tversion');
    request(this, fields, reply);
  }

  /** msize[4] version[s]; everything that was open is closed. */
  #version(fields: FieldReader, reply: FieldWriter): void {
    const wanted = fields.u32();
    const known = fields.text().startsWith(VERSION);
    if (wanted < LEAST_MESSAGE_BYTES) throw new FolderError(Errno.EINVAL, 'messages would be too small');
    this.fids.clear();
    this.#maxMessageBytes = Math.min(wanted, MOST_MESSAGE_BYTES);
    this.#greeted = known;
    reply.u32(this.#maxMessageBytes).text(known ? VERSION : 'unknown');
  }
}

/** Tattach: fid[4] afid[4] uname[s] aname[s] n_uname[4]. There is one tree, whatever it is called. */
const attach: Request = ({ folder, fids }, fields, reply) => {
  const number = fields.u32();
  const qid = qidOf(folder.status([]));
  fids.add(number, []);
  reply.qid(qid);
};

const REQUESTS: ReadonlyMap<number, Request> = new Map([[Message.ATTACH, attach], ...READ_REQUESTS, ...WRITE_REQUESTS]);

function rlerror(errno: number, tag: number): Uint8Array {
  return new FieldWriter().u32(errno).finish(Message.ERROR + 1, tag);
}
