// Pictures of numbers, as SVG that takes its colours from the style sheet.

import { fill, h, svg } from "./dom.js";
import { count, figure } from "./format.js";

const WIDTH = 640;
const NARROWEST = 300;
const HEIGHT = 250;
const LEFT = 48;
const RIGHT = 8;
const TOP = 10;
const BOTTOM = 26;
const MOST_POINTS = 500;
const WIDEST_BAR = 60;

/**
 * Lines over one axis. Each series is `{name, kind, points: [[x, y], …]}`; `kind` names its style.
 * What the picture says is told in words beneath it, for whoever does not see it.
 */
export function lineChart(place, label, series, rightmost) {
  const shown = series.filter(({ points }) => points.length);
  const all = shown.flatMap(({ points }) => points.map(([, y]) => y)).filter(Number.isFinite);
  if (!all.length) {
    fill(place);
    return;
  }
  const high = all.reduce((a, b) => Math.max(a, b));
  const low = all.reduce((a, b) => Math.min(a, b), 0);
  // As many units as pixels, so that letters are as large as elsewhere on any screen.
  const width = Math.max(NARROWEST, Math.floor(place.clientWidth - 2 * parseFloat(getComputedStyle(place).paddingLeft)) || WIDTH);
  const last = Math.max(rightmost, ...shown.map(({ points }) => points.at(-1)[0]), 1);
  const x = (value) => LEFT + (value / last) * (width - LEFT - RIGHT);
  const y = (value) => TOP + (1 - (value - low) / (high - low || 1)) * (HEIGHT - TOP - BOTTOM);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, class: "chart", role: "img", "aria-label": described(label, shown) },
    ticks(low, high, 4).map((value) => [
      svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      svg("text", { class: "tick", x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, figure(value))]),
    ticks(0, last, 6).map((value) => svg("text", { class: "tick", x: x(value), y: HEIGHT - 8, "text-anchor": value === 0 ? "start" : value > last * 0.97 ? "end" : "middle" }, count(Math.round(value)))),
    shown.map(({ kind, points }) => drawn(kind, thinned(points), x, y)));
  const legend = h("p", { class: "legend" }, shown.map(({ name, kind, points }) =>
    h("span", {}, h("i", { class: kind }), ` ${name} `, h("b", {}, figure(points.at(-1)[1])))));
  fill(place, picture, legend);
}

function drawn(kind, points, x, y) {
  const path = points.map(([a, b], index) => `${index ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
  // A single point has no line.
  const dots = points.length < 30 ? points.map(([a, b]) => svg("circle", { class: `dot ${kind}`, cx: x(a), cy: y(b), r: 2.5 })) : [];
  return [svg("path", { class: `line ${kind}`, d: path }), dots];
}

function thinned(points) {
  if (points.length <= MOST_POINTS) return points;
  const every = points.length / MOST_POINTS;
  return [...Array.from({ length: MOST_POINTS }, (_, index) => points[Math.floor(index * every)]), points.at(-1)];
}

function ticks(low, high, about) {
  const rough = (high - low || 1) / about;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * size >= rough) * size;
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) found.push(Number(value.toPrecision(12)));
  return found;
}

function described(label, series) {
  const told = series.map(({ name, points }) => `${name} from ${figure(points[0][1])} to ${figure(points.at(-1)[1])} at step ${points.at(-1)[0]}`);
  return `${label}: ${told.join("; ")}`;
}

/** Bars: how many rows have how many tokens. */
export function histogram(label, buckets) {
  const most = Math.max(...buckets.map((bucket) => bucket.row_count), 1);
  const wide = Math.min((WIDTH - LEFT - RIGHT) / buckets.length, WIDEST_BAR);
  const high = 170;
  const scale = (value) => (value / most) * (high - TOP - BOTTOM);
  const every = Math.ceil(buckets.length / 8);
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${high}`, class: "chart bars", role: "img", "aria-label": `${label}, of ${buckets[0]?.first} to ${buckets.at(-1)?.last} tokens` },
    svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: high - BOTTOM, y2: high - BOTTOM }),
    svg("text", { class: "tick", x: LEFT - 6, y: TOP + 8, "text-anchor": "end" }, count(most)),
    buckets.map(({ first, last, row_count: rows }, index) => svg("g", {},
      svg("title", {}, `${first} to ${last} tokens: ${count(rows)} rows`),
      svg("rect", { class: "bar", x: LEFT + index * wide + 1, width: Math.max(wide - 2, 1), y: high - BOTTOM - scale(rows), height: scale(rows), rx: 2 }),
      index % every ? [] : svg("text", { class: "tick", x: LEFT + (index + 0.5) * wide, y: high - 8, "text-anchor": "middle" }, count(first)))));
}

/**
 * Where a version comes from: boxes from left to right.
 * Each is `{kind, name, note, href}`.
 */
export function lineage(label, nodes) {
  const wide = 190;
  const tall = 66;
  const gap = 34;
  const width = nodes.length * wide + (nodes.length - 1) * gap;
  const box = (node, index) => {
    const x = index * (wide + gap);
    const lines = [
      svg("rect", { class: `node ${node.kind.replaceAll(" ", "-")}`, x: x + 1, y: 1, width: wide - 2, height: tall - 2, rx: 8 }),
      svg("text", { class: "node-kind", x: x + 14, y: 22 }, node.kind),
      svg("text", { class: "node-name", x: x + 14, y: 40 }, short(node.name, 21)),
      svg("text", { class: "node-kind", x: x + 14, y: 56 }, short(node.note, 26)),
      svg("title", {}, node.name)];
    return node.href ? svg("a", { href: node.href, "aria-label": `${node.kind} ${node.name}` }, lines) : svg("g", {}, lines);
  };
  const arrow = (index) => {
    const x = index * (wide + gap) - gap;
    return svg("path", { class: "arrow", d: `M${x + 5} ${tall / 2}h${gap - 12}m-6 -5l6 5l-6 5` });
  };
  const picture = svg("svg", { viewBox: `0 0 ${width} ${tall}`, width, height: tall, class: "lineage", role: "group", "aria-label": label },
    nodes.map((node, index) => [index ? arrow(index) : [], box(node, index)]));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, picture);
}

function short(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
