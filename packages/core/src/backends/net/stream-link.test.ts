import fc from 'fast-check';
import { expect, it } from 'vitest';
import { StreamLink } from './stream-link.ts';

function link() {
  const written: number[] = [];
  const failures: string[] = [];
  const stream = {
    pendingBytes: 0,
    write: (bytes: Uint8Array) => {
      written.push(...bytes);
    },
    fail: (reason: string) => {
      failures.push(reason);
    },
  };
  const made = new StreamLink(new Uint8Array(6), stream);
  const frames: Uint8Array[] = [];
  const state = { room: Number.POSITIVE_INFINITY };
  made.onReceive((frame) => {
    if (state.room-- <= 0) return false;
    frames.push(frame);
    return true;
  });
  return { link: made, stream, written, failures, frames, state };
}
const framed = (frame: Uint8Array) => [0, 0, frame.length >> 8, frame.length & 255, ...frame];
const frame = (sizeBytes: number, value: number) => new Uint8Array(sizeBytes).fill(value);

it('frames arrive whole, however the stream is cut', () => {
  const sizes = fc.array(fc.integer({ min: 14, max: 200 }), { maxLength: 10 });
  fc.assert(
    fc.property(sizes, fc.infiniteStream(fc.integer({ min: 1, max: 300 })), (frameSizes, cuts) => {
      const { link: made, frames } = link();
      const sent = frameSizes.map((sizeBytes, index) => frame(sizeBytes, index));
      const stream = Uint8Array.from(sent.flatMap(framed));
      for (let at = 0; at < stream.length; ) {
        const cut = cuts.next().value as number;
        made.received(stream.subarray(at, at + cut));
        at += cut;
      }
      expect(frames).toEqual(sent);
    }),
  );
});

it('frames to the network have their length before them; a socket that is full loses them', () => {
  const { link: made, stream, written } = link();
  made.send(frame(300, 7));
  expect(written.slice(0, 5)).toEqual([0, 0, 1, 44, 7]);
  stream.pendingBytes = 2 ** 21;
  made.send(frame(300, 7));
  expect(written).toHaveLength(304);
});

it('what the guest has no room for waits, up to a bound', () => {
  const { link: made, frames, state } = link();
  state.room = 0;
  for (let i = 0; i < 600; i++) made.received(Uint8Array.from(framed(frame(20, i & 255))));
  state.room = Number.POSITIVE_INFINITY;
  made.resume();
  expect([frames.length, frames[0][0], frames[511][0]]).toEqual([512, 0, 255]);
});

it('frames that no card takes are left out, and a length that cannot be one ends the link', () => {
  const { link: made, frames, failures, written } = link();
  made.received(Uint8Array.from([...framed(frame(13, 1)), ...framed(frame(1515, 2)), ...framed(frame(14, 3))]));
  expect(frames).toEqual([frame(14, 3)]);
  made.received(Uint8Array.of(1, 0, 0, 0));
  made.received(Uint8Array.from(framed(frame(20, 4))));
  made.send(frame(20, 5));
  expect([failures.length, frames.length, written.length]).toEqual([1, 1, 0]);
});
