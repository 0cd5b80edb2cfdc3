// A line chart of one rate over the last hour, as SVG: rate, its interval, the expectation, the time of an alert.
// For eyes, pointers, keys (← → Home End) and screen readers: its label says in a sentence what it shows.

import { attribute } from "./dom.js";
import { percent, percentDigits, time } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const EDGE = { top: 12, right: 14, bottom: 26, left: 46 };
/** Points further apart than this many steps are not joined: nothing was seen between them. */
const GAP_STEPS = 4;
/** A young history is shown wider, but never wider than this (seconds). */
const SHORTEST_SPAN = 300;
/** Seconds between labels of the time axis: the first that leaves each this many pixels. */
const TIME_STEPS = [60, 120, 300, 600, 1200, 1800];
const LABEL_WIDTH = 72;

export class RateChart {
  constructor(parent) {
    this.parent = parent;
    this.svg = node("svg", { role: "img", tabindex: "0", focusable: "true" });
    this.readout = document.createElement("p");
    this.readout.className = "readout";
    this.readout.setAttribute("aria-live", "polite");
    parent.append(this.svg, this.readout);
    this.data = null;
    this.cursor = null;
    new ResizeObserver(() => this.draw()).observe(parent);
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerdown", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.moveTo(null));
    this.svg.addEventListener("blur", () => this.moveTo(null));
    this.svg.addEventListener("keydown", (event) => this.key(event));
  }

  /**
   * @param {{title: string, step: number, span: number, alerts: {onset: number, end: number|null}[],
   *          points: {time: number, rate: number|null, lower: number|null, upper: number|null,
   *                   expected: number|null}[]}} data  points oldest first
   */
  show(data) {
    const sticky = this.cursor === null ? null : this.data?.points[this.cursor]?.time;
    this.data = data;
    this.cursor = sticky === null ? null : nearest(data.points, sticky);
    this.draw();
  }

  draw() {
    const { width, height } = this.parent.getBoundingClientRect();
    if (!this.data || width < 80) return;
    const { points, span, step } = this.data;
    this.size = { width, height };
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const end = points.length ? points[points.length - 1].time : 0;
    this.span = points.length ? Math.min(span, Math.max(end - points[0].time, SHORTEST_SPAN)) : span;
    const start = end - this.span;
    const top = ceiling(points);
    this.x = (t) => EDGE.left + ((t - start) / this.span) * (width - EDGE.left - EDGE.right);
    this.y = (r) => height - EDGE.bottom - (Math.min(r, top.max) / top.max) * (height - EDGE.top - EDGE.bottom);
    const parts = [...this.grid(top, start, end)];
    if (!points.length) {
      parts.push(label("The hour begins with the first event.", width / 2, height / 2, "empty", "middle"));
    }
    for (const alert of this.data.alerts) {
      const from = Math.max(this.x(alert.onset), EDGE.left);
      const to = Math.min(this.x(alert.end ?? end), width - EDGE.right);
      if (to <= from) continue;
      parts.push(node("rect", { class: "alert-span", x: from, y: EDGE.top, width: to - from, height: height - EDGE.top - EDGE.bottom }));
      if (this.x(alert.onset) < EDGE.left) continue; // it began before this hour
      parts.push(node("line", { class: "alert-onset", x1: from, x2: from, y1: EDGE.top, y2: height - EDGE.bottom }));
      const inside = from + 60 > width - EDGE.right;
      parts.push(label(time(alert.onset), from + (inside ? -5 : 5), EDGE.top + 13, "alert-label", inside ? "end" : "start"));
    }
    for (const run of runs(points, (p) => p.rate !== null, step)) {
      const up = run.map((p) => this.at(p.time, p.upper));
      const down = run.map((p) => this.at(p.time, p.lower)).reverse();
      parts.push(node("path", { class: "band", d: `M${[...up, ...down].join("L")}Z` }));
    }
    for (const run of runs(points, (p) => p.expected !== null, step)) {
      parts.push(node("path", { class: "expected", d: `M${run.map((p) => this.at(p.time, p.expected)).join("L")}` }));
    }
    for (const run of runs(points, (p) => p.rate !== null, step)) {
      parts.push(node("path", { class: "rate", d: `M${run.map((p) => this.at(p.time, p.rate)).join("L")}` }));
    }
    const last = points.findLast((p) => p.rate !== null);
    if (last) parts.push(node("circle", { class: "now", cx: this.x(last.time), cy: this.y(last.rate), r: 4 }));
    this.marker = node("g", { class: "marker" });
    this.svg.replaceChildren(...parts, this.marker);
    attribute(this.svg, "aria-label", describe(this.data));
    this.mark();
  }

  *grid(top, start, end) {
    const { width, height } = this.size;
    for (const tick of top.ticks) {
      const y = this.y(tick);
      yield node("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y, y2: y });
      yield label(`${trimmed(tick)} %`, EDGE.left - 8, y + 4, "tick", "end");
    }
    if (!end) return;
    const second = (width - EDGE.left - EDGE.right) / this.span;
    const every = TIME_STEPS.find((s) => s * second >= LABEL_WIDTH) ?? TIME_STEPS[TIME_STEPS.length - 1];
    const zone = new Date(end * 1000).getTimezoneOffset() * 60;
    for (let t = Math.ceil((start - zone) / every) * every + zone; t <= end; t += every) {
      const x = this.x(t);
      if (x > EDGE.left + 14 && x < width - EDGE.right - 10) yield label(time(t), x, height - 8, "tick", "middle");
    }
  }

  at(t, r) {
    return `${this.x(t).toFixed(1)} ${this.y(r).toFixed(1)}`;
  }

  point(event) {
    if (!this.data?.points.length) return;
    const box = this.svg.getBoundingClientRect();
    const share = (event.clientX - box.left - EDGE.left) / (box.width - EDGE.left - EDGE.right);
    const end = this.data.points[this.data.points.length - 1].time;
    this.moveTo(nearest(this.data.points, end - this.span * (1 - share)));
  }

  key(event) {
    const last = (this.data?.points.length ?? 0) - 1;
    const from = this.cursor ?? last;
    const stride = last > 40 ? 4 : 1;
    const to = { ArrowLeft: from - stride, ArrowRight: from + stride, Home: 0, End: last }[event.key];
    if (event.key === "Escape") this.moveTo(null);
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.moveTo(Math.max(0, Math.min(last, to)));
  }

  moveTo(index) {
    this.cursor = index;
    this.mark();
  }

  mark() {
    const p = this.cursor === null ? null : this.data?.points[this.cursor];
    if (!p) {
      this.marker?.replaceChildren();
      this.readout.textContent = "";
      return;
    }
    const x = this.x(p.time);
    const parts = [node("line", { x1: x, x2: x, y1: EDGE.top, y2: this.size.height - EDGE.bottom })];
    if (p.rate !== null) parts.push(node("circle", { cx: x, cy: this.y(p.rate), r: 4 }));
    this.marker.replaceChildren(...parts);
    const between = p.rate === null ? "no visitors" : `${percent(p.rate)} (${percentDigits(p.lower)}–${percent(p.upper)})`;
    const expected = p.expected === null ? "" : `, expected ${percent(p.expected)}`;
    this.readout.textContent = `${time(p.time)}: ${between}${expected}`;
    const box = this.readout.getBoundingClientRect();
    const left = Math.max(EDGE.left, Math.min(x - box.width / 2, this.size.width - box.width - 4));
    this.readout.style.left = `${left}px`;
  }
}

/** What the chart shows, in a sentence. */
function describe({ title, points, alerts }) {
  const seen = points.filter((p) => p.rate !== null);
  if (!seen.length) return `${title}: nothing seen yet.`;
  const rates = seen.map((p) => p.rate);
  const last = seen[seen.length - 1];
  const expected = last.expected === null ? "" : `, expected ${percent(last.expected)}`;
  const open = alerts.find((alert) => alert.end === null);
  const fell = open ? ` Alert since ${time(open.onset)}.` : "";
  return (
    `${title}, from ${time(seen[0].time)} to ${time(last.time)}: between ${percent(Math.min(...rates))} and ` +
    `${percent(Math.max(...rates))}, now ${percent(last.rate)}${expected}.${fell} Arrow keys read single values.`
  );
}

/** Top of the scale and its ticks: room for rates, expectation and most of the interval. */
function ceiling(points) {
  let highest = 0;
  for (const p of points) {
    const upper = Math.min(p.upper ?? 0, 2 * (p.rate ?? 0));
    highest = Math.max(highest, p.rate ?? 0, p.expected ?? 0, upper);
  }
  const wanted = (highest || 0.04) * 1.06;
  const power = 10 ** Math.floor(Math.log10(wanted / 5));
  const step = [1, 2, 2.5, 5, 10].map((k) => k * power).find((s) => s * 5 >= wanted) ?? 10 * power;
  const steps = Math.ceil(wanted / step);
  const max = Math.min(steps * step, 1);
  return { max, ticks: Array.from({ length: steps + 1 }, (_, k) => k * step).filter((t) => t <= max + 1e-12) };
}

function trimmed(ratio) {
  return String(Number((ratio * 100).toPrecision(3)));
}

/** Stretches of neighbouring points for which `keep` holds; a lone point is a stretch of two equal ones. */
function runs(points, keep, step) {
  const found = [];
  let run = [];
  for (const p of points) {
    const joined = run.length && p.time - run[run.length - 1].time <= GAP_STEPS * step;
    if (!keep(p) || (run.length && !joined)) {
      if (run.length) found.push(run);
      run = [];
    }
    if (keep(p)) run.push(p);
  }
  if (run.length) found.push(run);
  return found.map((r) => (r.length === 1 ? [r[0], r[0]] : r));
}

function nearest(points, t) {
  if (!points.length) return null;
  return points.reduce((best, p, k) => (Math.abs(p.time - t) < Math.abs(points[best].time - t) ? k : best), 0);
}

function node(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function label(content, x, y, className, anchor) {
  const element = node("text", { class: className, x, y, "text-anchor": anchor });
  element.textContent = content;
  return element;
}
