/**
 * A refusal that a person can act on: what, where, what to do. Codes are never reused.
 * `exitCode` is what `vm` exits with.
 */
export class PolyvisorError extends Error {
  readonly code: string;
  readonly fix: string;
  readonly exitCode: number;
  constructor(code: string, message: string, fix: string, exitCode = 2) {
    super(message);
    this.name = 'PolyvisorError';
    this.code = code;
    this.fix = fix;
    this.exitCode = exitCode;
  }
  /** One line: `vm: error PV1003: what (where): what to do`. */
  get oneLine(): string {
    return `${this.code}: ${this.message}: ${this.fix}`;
  }
}
