import fc from 'fast-check';
import { expect, it } from 'vitest';
import { NameMap } from './name-map.ts';

it('holds what a map holds, whatever the names', () => {
  const sets = fc.array(fc.tuple(fc.string(), fc.nat()));
  fc.assert(
    fc.property(sets, fc.string(), (entries, other) => {
      const names = new NameMap<number>();
      for (const [name, value] of entries) names.set(name, value);
      const map = new Map(entries);
      for (const name of [...map.keys(), other]) {
        expect([names.get(name), names.has(name)]).toEqual([map.get(name), map.has(name)]);
      }
    }),
  );
});
