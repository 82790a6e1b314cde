import type { HostFolder } from '../../ports/host-folder.ts';
import type { Fids } from './fids.ts';
import type { FieldReader, FieldWriter } from './wire.ts';

/** What a request has to work with. */
export interface RequestContext {
  readonly folder: HostFolder;
  readonly fids: Fids;
  readonly writable: boolean;
  /** Largest reply, bytes. */
  readonly maxMessageBytes: number;
}

/** Carries out one kind of request; a throw becomes Rlerror. */
export type Request = (context: RequestContext, fields: FieldReader, reply: FieldWriter) => void;
