// The live page: follows one window by server-sent events and draws each view that comes.

import { RateChart } from "./chart.js";
import { attribute, make, text } from "./dom.js";
import { count, last, moment } from "./format.js";
import { alerts, banner, cards, chartTable, funnel, segments } from "./parts.js";

/** The server gives a sign of life every 15 s; after this long without one the connection is opened anew. */
const SILENT_MS = 40_000;
const RETRY_MS = [500, 1_000, 2_000, 4_000];
/** A wall-clock worker whose numbers have not moved for this long does not count. */
const STILL_MS = 60_000;

const find = (id) => document.getElementById(id);
const address = new URL(location.href);
const chart = new RateChart(find("chart"));

const page = {
  window: address.searchParams.get("window"),
  goal: address.searchParams.get("goal"),
  view: null,
  history: null,
  source: null,
  failures: 0,
  retry: 0,
  watchdog: 0,
  movedAt: 0,
  drawing: false,
};

function connect() {
  disconnect();
  const query = page.window ? `?window=${encodeURIComponent(page.window)}` : "";
  const source = new EventSource(`/api/v1/stream${query}`);
  page.source = source;
  source.addEventListener("view", (event) => {
    alive();
    take(JSON.parse(event.data));
  });
  source.addEventListener("beat", alive);
  source.addEventListener("moved", () => location.reload()); // "/" leads to the worker that has the totals now
  source.addEventListener("error", () => lost());
  watch();
}

function disconnect() {
  page.source?.close();
  page.source = null;
  clearTimeout(page.retry);
  clearTimeout(page.watchdog);
}

function alive() {
  page.failures = 0;
  watch();
}

function watch() {
  clearTimeout(page.watchdog);
  page.watchdog = setTimeout(lost, SILENT_MS);
}

/** The stream ended: say so, find out why, try again. */
async function lost() {
  disconnect();
  linkSays("waiting", page.view ? "Reconnecting" : "Connecting");
  page.history = null;
  const wait = RETRY_MS[Math.min(page.failures, RETRY_MS.length - 1)];
  page.failures += 1;
  page.retry = setTimeout(connect, wait);
  try {
    const query = page.window ? `?window=${encodeURIComponent(page.window)}` : "";
    const answer = await fetch(`/api/v1/live${query}`, { redirect: "manual" });
    if (answer.type === "opaqueredirect") location.reload();
    else if (answer.status === 400 && page.window) {
      page.window = null; // a link to a window that this config does not have
    } else if (!answer.ok) {
      const { error } = await answer.json();
      linkSays("waiting", "Waiting");
      if (!page.view) banner(find("banner"), { level: "unknown", title: "No numbers yet", text: error });
    }
  } catch {
    if (page.failures > 2) linkSays("lost", "Worker cannot be reached");
  }
}

function linkSays(state, words) {
  attribute(find("link"), "data-state", state);
  text(find("link-text"), words);
  document.body.classList.toggle("old", state !== "live" && page.view !== null);
}

async function take(view) {
  if (view.as_of !== page.view?.as_of) page.movedAt = performance.now();
  page.view = view;
  page.window = view.window;
  if (page.history?.window !== view.window) {
    page.history = { window: view.window, points: new Map() }; // so that it is asked for once
    loadHistory(view.window);
  }
  addPoint(view);
  draw();
}

async function loadHistory(window) {
  const answer = await fetch(`/api/v1/history?window=${encodeURIComponent(window)}`);
  if (!answer.ok || page.history?.window !== window) return;
  const past = await answer.json();
  const points = new Map();
  past.times.forEach((time, k) => {
    const goals = {};
    for (const [name, series] of Object.entries(past.goals)) {
      goals[name] = { time, rate: series.rate[k], lower: series.lower[k], upper: series.upper[k], expected: series.expected[k] };
    }
    points.set(time, goals);
  });
  for (const [time, goals] of page.history.points) points.set(time, goals);
  page.history = { window, step: past.step, span: past.span, points };
  draw();
}

/** The newest view is the newest point of the chart. */
function addPoint(view) {
  if (view.as_of === null) return;
  const { points, step = 15, span = 3600 } = page.history;
  const time = Math.floor(view.as_of / step) * step;
  const goals = {};
  for (const { name, rate, lower, upper, expected } of view.goals) goals[name] = { time, rate, lower, upper, expected };
  points.set(time, goals);
  for (const old of points.keys()) if (old <= time - span || old > time) points.delete(old);
}

function draw() {
  if (page.drawing) return;
  page.drawing = true;
  requestAnimationFrame(() => {
    page.drawing = false;
    drawNow();
  });
}

function drawNow() {
  const { view } = page;
  const goal = view.goals.find((g) => g.name === page.goal) ?? view.goals.find((g) => g.level === "bad") ?? view.goals[0];
  windowChoice(view);
  banner(find("banner"), view.headline);
  cards(find("cards"), view, goal.name, choose);
  text(find("goals-title"), `Conversion rate of each goal, ${last(view.window)}`);
  text(find("funnel-title"), `From visitors to goals, ${last(view.window)}`);
  text(find("segments-title"), `${goal.title} by segment, ${last(view.window)}`);
  funnel(find("funnel"), view);
  text(find("sessions"), `${count(view.sessions)} session${view.sessions === 1 ? "" : "s"}`);
  segments(find("segments"), find("more-segments"), goal);
  alerts(find("alerts"), view);
  find("alerts-unit").hidden = !view.alerts.length || view.window === "1m";
  const data = chartData(view, goal);
  text(find("chart-title"), `${goal.title} rate, ${covered(data)}`);
  chart.show(data);
  chartTable(find("chart-table"), data);
  const sign = { bad: "▼ ", warn: "! " }[view.headline.level] ?? "";
  document.title = sign ? `${sign}${view.headline.title} · Conversion monitor` : "Conversion monitor";
  attribute(find("link"), "data-as-of", String(view.as_of));
  linkIsLive(view);
}

function linkIsLive(view) {
  if (view.as_of === null) return linkSays("live", "Live");
  const still = view.clock === "wall" && performance.now() - page.movedAt > STILL_MS;
  if (still) linkSays("lost", `Nothing new since ${moment(view.as_of, true)}`);
  else linkSays("live", `Live · ${moment(view.as_of, true)}`);
}

function chartData(view, goal) {
  const { points, step = 15, span = 3600 } = page.history;
  const series = [...points.keys()].sort((a, b) => a - b).map((time) => points.get(time)[goal.name]);
  const ofGoal = view.alerts.filter((a) => a.goal === goal.name && a.onset_at);
  return {
    title: `${goal.title} rate per visitor of the ${last(view.window)}`,
    step,
    span,
    points: series.filter(Boolean),
    alerts: ofGoal.map((a) => ({ onset: a.onset_at, end: a.active ? null : a.resolved_at })),
  };
}

/** How far back the chart reaches: a young worker has no hour to show yet. */
function covered({ points, span }) {
  const seconds = points.length ? points[points.length - 1].time - points[0].time : span;
  return seconds > 0.9 * span ? last(`${span / 3600}h`) : last(`${Math.max(1, Math.round(seconds / 60))}m`);
}

function windowChoice(view) {
  const box = find("windows");
  for (const name of view.windows) {
    if (!box.querySelector(`input[value="${CSS.escape(name)}"]`)) box.append(makeChoice(name));
  }
  for (const input of box.querySelectorAll("input")) input.checked = input.value === page.window;
}

function makeChoice(name) {
  const input = make("input");
  input.type = "radio";
  input.name = "window";
  input.value = name;
  input.setAttribute("aria-label", last(name));
  input.addEventListener("change", () => {
    page.window = name;
    remember("window", name);
    connect();
  });
  return make("label", "", input, make("span", "", name));
}

function choose(goal) {
  page.goal = goal;
  remember("goal", goal);
  draw();
}

function remember(key, value) {
  address.searchParams.set(key, value);
  history.replaceState(null, "", address);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) disconnect();
  else connect();
});
if (!document.hidden) connect();
