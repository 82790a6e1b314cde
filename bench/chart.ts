/** Line charts with logarithmic axes, as SVG that stands by itself. */

export interface Series {
  readonly name: string;
  /** x and y, both above 0, by rising x. */
  readonly points: readonly (readonly [number, number])[];
}

export interface Chart {
  readonly title: string;
  readonly xTitle: string;
  readonly yTitle: string;
  readonly xLabel: (x: number) => string;
  readonly yLabel: (y: number) => string;
  readonly series: readonly Series[];
}

const WIDTH = 840;
const HEIGHT = 400;
const PLOT = { left: 72, right: 500, top: 44, bottom: 340 } as const;
/** Told apart by people who do not see all colours (Okabe and Ito, "Color Universal Design", 2008). */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000', '#999999'];

const escaped = (text: string) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
const rounded = (value: number) => String(Math.round(value * 10) / 10);

/** Maps values to places on a logarithmic axis. */
function axis(values: readonly number[], from: number, to: number): (value: number) => number {
  const [low, high] = [Math.log(Math.min(...values)), Math.log(Math.max(...values))];
  return (value) => (high === low ? (from + to) / 2 : from + ((Math.log(value) - low) / (high - low)) * (to - from));
}

/** 1, 2 and 5 times powers of ten, those from `low` to `high` and the next beyond each. */
function ticks(low: number, high: number): number[] {
  const all: number[] = [];
  for (let power = Math.floor(Math.log10(low)) - 1; power <= Math.ceil(Math.log10(high)) + 1; power++)
    all.push(...[1, 2, 5].map((step) => step * 10 ** power));
  const first = all.findLastIndex((tick) => tick <= low);
  const last = all.findIndex((tick) => tick >= high);
  const chosen = all.slice(first, last + 1);
  // With many decades, whole powers are enough.
  const powers = chosen.filter((tick) => Number.isInteger(Math.round(Math.log10(tick) * 1e6) / 1e6));
  return chosen.length > 9 ? [...new Set([chosen[0], ...powers, chosen[chosen.length - 1]])] : chosen;
}

function text(x: number, y: number, content: string, more = ''): string {
  return `<text x="${rounded(x)}" y="${rounded(y)}"${more}>${escaped(content)}</text>`;
}

function line(x1: number, y1: number, x2: number, y2: number): string {
  return `<line x1="${rounded(x1)}" y1="${rounded(y1)}" x2="${rounded(x2)}" y2="${rounded(y2)}" stroke="#ddd"/>`;
}

/** Series without points are left out. */
export function renderChart(chart: Chart): string {
  const series = chart.series.filter(({ points }) => points.length > 0);
  const xs = [...new Set(series.flatMap(({ points }) => points.map(([x]) => x)))].sort((a, b) => a - b);
  const ys = series.flatMap(({ points }) => points.map(([, y]) => y));
  const yTicks = ticks(Math.min(...ys), Math.max(...ys));
  const xAt = axis(xs, PLOT.left, PLOT.right);
  const yAt = axis(yTicks, PLOT.bottom, PLOT.top);
  const middle = ' text-anchor="middle"';
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    text(PLOT.left, 24, chart.title, ' font-size="15"'),
    ...xs.map((x) => line(xAt(x), PLOT.top, xAt(x), PLOT.bottom)),
    ...xs.map((x) => text(xAt(x), PLOT.bottom + 18, chart.xLabel(x), middle)),
    ...yTicks.map((y) => line(PLOT.left, yAt(y), PLOT.right, yAt(y))),
    ...yTicks.map((y) => text(PLOT.left - 8, yAt(y) + 4, chart.yLabel(y), ' text-anchor="end"')),
    text((PLOT.left + PLOT.right) / 2, PLOT.bottom + 42, chart.xTitle, middle),
    text(
      18,
      (PLOT.top + PLOT.bottom) / 2,
      chart.yTitle,
      `${middle} transform="rotate(-90 18 ${(PLOT.top + PLOT.bottom) / 2})"`,
    ),
    ...series.flatMap(({ name, points }, index) => {
      const colour = COLOURS[index % COLOURS.length];
      const places = points.map(([x, y]) => `${rounded(xAt(x))},${rounded(yAt(y))}`);
      const legendY = PLOT.top + 12 + index * 20;
      return [
        `<polyline points="${places.join(' ')}" fill="none" stroke="${colour}" stroke-width="2"/>`,
        ...places.map((place) => `<circle cx="${place.replace(',', '" cy="')}" r="3" fill="${colour}"/>`),
        `<rect x="${PLOT.right + 16}" y="${legendY - 9}" width="12" height="4" fill="${colour}"/>`,
        text(PLOT.right + 34, legendY - 3, name),
      ];
    }),
    '</svg>',
  ];
  return `${parts.join('\n')}\n`;
}
