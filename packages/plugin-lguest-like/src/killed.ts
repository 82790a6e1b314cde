/** The guest has broken a rule: it ends, with the reason in the words that lguest used. */
export class Killed extends Error {
  constructor(reason: string) {
    super(reason);
    this.name = 'Killed';
  }
}

export function kill(reason: string): never {
  throw new Killed(reason);
}

export const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`;
