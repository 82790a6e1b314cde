import { expect, test } from 'vitest';
import { renderChart } from './chart.ts';

const chart = { title: 'a < b', xTitle: 'x', yTitle: 'y', xLabel: String, yLabel: String };
const attribute = (svg: string, pattern: RegExp) =>
  [...svg.matchAll(pattern)].map(([, ...values]) => values.map(Number));

test('equal factors are equal distances, and larger is right and up', () => {
  const svg = renderChart({
    ...chart,
    series: [
      {
        name: 'one',
        points: [
          [1, 1],
          [10, 10],
          [100, 100],
        ],
      },
    ],
  });
  const circles = attribute(svg, /<circle cx="([\d.]+)" cy="([\d.]+)"/g);
  expect(circles).toHaveLength(3);
  const [[x1, y1], [x2, y2], [x3, y3]] = circles;
  expect(x2 - x1).toBeCloseTo(x3 - x2, 0);
  expect(y1 - y2).toBeCloseTo(y2 - y3, 0);
  expect(x2).toBeGreaterThan(x1);
  expect(y2).toBeLessThan(y1);
});

test('every label is text, every series has its line and its name', () => {
  const series = [
    {
      name: 'first & second',
      points: [
        [16, 3],
        [256, 700],
      ] as const,
    },
    { name: 'empty', points: [] },
  ];
  const svg = renderChart({ ...chart, series });
  expect(svg).toContain('>a &lt; b<');
  expect(svg).toContain('>first &amp; second<');
  expect(svg).not.toContain('empty');
  expect(svg.match(/<polyline/g)).toHaveLength(1);
  // Ticks enclose what is drawn.
  for (const label of ['2', '1000']) expect(svg).toContain(`>${label}<`);
});

test('a single point, and values of many sizes, fit the plot', () => {
  for (const points of [
    [[5, 5]],
    [
      [1, 0.003],
      [2, 4_000_000],
    ],
  ] as [number, number][][]) {
    const places = attribute(renderChart({ ...chart, series: [{ name: 's', points }] }), /c[xy]="([\d.]+)"/g).flat();
    expect(places).toHaveLength(points.length * 2);
    for (const place of places) {
      expect(place).toBeGreaterThan(40);
      expect(place).toBeLessThan(501);
    }
  }
});
