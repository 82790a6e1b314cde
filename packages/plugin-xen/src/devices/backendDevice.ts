import { Domid } from '../hypercall/domid.ts';
import { domainPath } from '../xenstore/path.ts';
import type { Permissions } from '../xenstore/permissions.ts';
import type { Store } from '../xenstore/store.ts';

/** enum xenbus_state (public/io/xenbus.h). */
const XenbusState = { INITIALISING: 1, INIT_WAIT: 2, INITIALISED: 3, CONNECTED: 4, CLOSING: 5, CLOSED: 6 } as const;

type Nodes = Readonly<Record<string, string>>;

/** What a frontend wrote into its directory. */
export interface FrontendNodes {
  text(name: string): string | undefined;
  /** A node that has to be a number below 2³²; `undefined`: missing, or something else. */
  number(name: string): number | undefined;
}

/** A frontend being served. */
export interface Connection {
  /** Nodes of the backend that the frontend reads once it is connected. */
  readonly nodes?: Nodes;
  disconnect(): void;
}

/** One device: what the toolstack writes for it, and how it is served. */
export interface DeviceModel {
  readonly type: 'vbd' | 'vif' | '9pfs';
  readonly id: number;
  readonly backendNodes: Nodes;
  readonly frontendNodes: Nodes;
  /** The frontend has published its rings: serve them, or say why not. */
  connect(frontend: FrontendNodes): Connection | string;
}

/** The handshake of one device through the store (public/io/xenbus.h), seen from the backend. */
export class BackendDevice {
  readonly #store: Store;
  readonly #model: DeviceModel;
  readonly #log: (message: string) => void;
  readonly frontendPath: string;
  readonly #backendPath: string;
  #state = 0;
  #connection: Connection | undefined;

  constructor(store: Store, model: DeviceModel, log: (message: string) => void) {
    this.#store = store;
    this.#model = model;
    this.#log = log;
    this.frontendPath = `${domainPath(Domid.GUEST)}/device/${model.type}/${model.id}`;
    this.#backendPath = `${domainPath(Domid.CONTROL)}/backend/${model.type}/${Domid.GUEST}/${model.id}`;
  }

  /** The toolstack's part: both directories; then the backend waits for a frontend. */
  introduce(): void {
    const { backendNodes, frontendNodes } = this.#model;
    const ofBackend: Permissions = [
      { domid: Domid.CONTROL, read: false, write: false },
      { domid: Domid.GUEST, read: true, write: false },
    ];
    const ofFrontend: Permissions = [
      { domid: Domid.GUEST, read: false, write: false },
      { domid: Domid.CONTROL, read: true, write: false },
    ];
    this.#write(this.#backendPath, ofBackend, {
      frontend: this.frontendPath,
      'frontend-id': String(Domid.GUEST),
      online: '1',
      ...backendNodes,
    });
    this.#enter(XenbusState.INIT_WAIT);
    this.#write(this.frontendPath, ofFrontend, {
      backend: this.#backendPath,
      'backend-id': String(Domid.CONTROL),
      ...frontendNodes,
      state: String(XenbusState.INITIALISING),
    });
  }

  /** Something in the frontend's directory has changed. */
  frontendChanged(): void {
    switch (this.#frontend.number('state')) {
      case XenbusState.INITIALISING:
        if (this.#state === XenbusState.INIT_WAIT) return;
        this.disconnect();
        this.#enter(XenbusState.INIT_WAIT);
        return;
      case XenbusState.INITIALISED:
      case XenbusState.CONNECTED:
        if (this.#state === XenbusState.INIT_WAIT) this.#connect();
        return;
      case XenbusState.CLOSING:
        this.disconnect();
        this.#enter(XenbusState.CLOSING);
        return;
      case XenbusState.CLOSED:
      case undefined:
        this.disconnect();
        this.#enter(XenbusState.CLOSED);
    }
  }

  disconnect(): void {
    this.#connection?.disconnect();
    this.#connection = undefined;
  }

  #connect(): void {
    const connection = this.#model.connect(this.#frontend);
    if (typeof connection === 'string') {
      this.#log(`${this.#model.type} ${this.#model.id}: ${connection}`);
      this.#enter(XenbusState.CLOSING);
      return;
    }
    this.#connection = connection;
    for (const [name, value] of Object.entries(connection.nodes ?? {})) {
      this.#store.set(`${this.#backendPath}/${name}`, value);
    }
    this.#enter(XenbusState.CONNECTED);
  }

  #enter(state: number): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#store.set(`${this.#backendPath}/state`, String(state));
  }

  #write(path: string, permissions: Permissions, nodes: Nodes): void {
    this.#store.set(path, '', permissions);
    for (const [name, value] of Object.entries(nodes)) this.#store.set(`${path}/${name}`, value);
  }

  readonly #frontend: FrontendNodes = {
    text: (name) => {
      const value = this.#store.get(`${this.frontendPath}/${name}`);
      return value === undefined ? undefined : new TextDecoder().decode(value);
    },
    number: (name) => {
      const text = this.#frontend.text(name);
      const value = text !== undefined && /^[0-9]{1,10}$/.test(text) ? Number(text) : Number.NaN;
      return value <= 0xffff_ffff ? value : undefined;
    },
  };
}
