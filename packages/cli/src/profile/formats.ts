import type { WeighedStack } from './profile.ts';

/**
 * Collapsed stacks, as flame-graph programs read them: a line a stack, frames from the outermost inwards with semicolons
 * between, a blank, and the weight.
 */
export function toCollapsed(stacks: readonly WeighedStack[]): string {
  return stacks
    .map(
      ({ frames, instructions }) => `${frames.map((name) => name.replace(/[;\s]/g, '_')).join(';')} ${instructions}\n`,
    )
    .join('');
}

/**
 * A sampled profile in speedscope's file format (https://www.speedscope.app/file-format-schema.json). A sample is a
 * list of indices into the frames, outermost first. Stacks have no order in time: look at "Left Heavy" or "Sandwich".
 */
export function toSpeedscope(stacks: readonly WeighedStack[], name: string): string {
  const frameIndices = new Map<string, number>();
  const indexOf = (frame: string) => {
    const known = frameIndices.get(frame);
    if (known !== undefined) return known;
    frameIndices.set(frame, frameIndices.size);
    return frameIndices.size - 1;
  };
  const samples = stacks.map(({ frames }) => frames.map(indexOf));
  const weights = stacks.map(({ instructions }) => instructions);
  const endValue = weights.reduce((sum, weight) => sum + weight, 0);
  return JSON.stringify({
    $schema: 'https://www.speedscope.app/file-format-schema.json',
    exporter: 'polyvisor',
    name,
    activeProfileIndex: 0,
    shared: { frames: [...frameIndices.keys()].map((frame) => ({ name: frame })) },
    profiles: [
      { type: 'sampled', name: `${name}: instructions`, unit: 'none', startValue: 0, endValue, samples, weights },
    ],
  });
}
