// The parts of the page, each from the view of one window (see monitor/live/view.py).

import { attribute, list, make, number, text } from "./dom.js";
import { NONE, amount, change, count, moment, money, percent, percentDigits, time, unbroken } from "./format.js";

export function banner(element, { level, title, text: sentence }) {
  attribute(element, "data-level", level);
  text(element.querySelector("h2"), title);
  text(element.querySelector("p"), unbroken(sentence));
}

/** One button per goal: rate, interval, expectation; pressing it chooses the goal for chart and segments. */
export function cards(parent, view, chosen, choose) {
  list(parent, view.goals, (goal) => goal.name, () => makeCard(choose), (card, goal) => {
    attribute(card, "data-level", goal.level);
    attribute(card, "data-goal", goal.name);
    attribute(card, "aria-pressed", String(goal.name === chosen));
    const part = (name) => card.querySelector(`.${name}`);
    text(part("goal-title"), goal.title);
    text(part("goal-kind"), goal.kind === "macro" ? "main goal" : "");
    text(part("status"), goal.status);
    number(part("rate"), percent(goal.rate), goal.rate);
    const expected = goal.expected === null ? "" : `${percent(goal.expected)} expected`;
    text(part("expected"), expected);
    text(part("change"), goal.expected === null ? "" : change(goal.rate, goal.expected));
    range(part("range"), goal);
    const between = goal.rate === null ? "no visitors in this window" : `95 % sure: ${percentDigits(goal.lower)} to ${percent(goal.upper)}`;
    text(part("between"), between);
    number(part("converters"), count(goal.converters), goal.converters);
    number(part("visitors"), count(view.visitors), view.visitors);
    number(part("conversions"), count(goal.conversions), goal.conversions);
    text(part("times"), goal.conversions === 1 ? "conversion" : "conversions");
    text(part("revenue"), Object.entries(goal.revenue).map(([currency, sum]) => money(sum, currency)).join(" + "));
    const lost = goal.level === "bad" && goal.lost >= 0.5 ? `about ${amount(goal.lost)} lost so far` : "";
    text(part("lost"), lost);
  });
}

function makeCard(choose) {
  const card = make(
    "button",
    "goal",
    make("span", "goal-head", make("span", "goal-title"), make("span", "goal-kind")),
    make("span", "status"),
    make("span", "figures", make("span", "rate"), make("span", "against", make("span", "change"), make("span", "expected"))),
    make("span", "range", make("span", "range-band"), make("span", "range-expected"), make("span", "range-rate")),
    make("span", "between"),
    make("span", "counts", make("span", "converters"), " of ", make("span", "visitors"), " visitors"),
    make("span", "counts", make("span", "conversions"), " ", make("span", "times"), make("span", "revenue"), make("span", "lost")),
  );
  card.type = "button";
  card.querySelector(".range").setAttribute("aria-hidden", "true");
  card.addEventListener("click", () => choose(card.dataset.goal));
  return card;
}

/** Rate (dot), interval (bar) and expectation (tick) on one scale that starts at 0. */
function range(element, goal) {
  element.hidden = goal.rate === null;
  if (goal.rate === null) return;
  const top = Math.max(goal.upper * 1.15, (goal.expected ?? 0) * 1.25, goal.rate * 1.25, 1e-9);
  const at = (ratio) => `${Math.min(100, (ratio / top) * 100)}%`;
  const [band, tick, dot] = element.children;
  band.style.left = at(goal.lower);
  band.style.width = `${((goal.upper - goal.lower) / top) * 100}%`;
  tick.hidden = goal.expected === null;
  if (goal.expected !== null) tick.style.left = at(goal.expected);
  dot.style.left = at(goal.rate);
}

/** Visitors, then the steps on the way (micro goals, those of most visitors first), then what it is all for. */
export function funnel(parent, view) {
  const last = (goal) => (goal.kind === "macro" ? 1 : 0);
  const goals = [...view.goals].sort((a, b) => last(a) - last(b) || b.converters - a.converters);
  const steps = [
    { name: "", title: "Visitors", reached: view.visitors, level: "none" },
    ...goals.map((goal) => ({ name: goal.name, title: goal.title, reached: goal.converters, level: goal.level })),
  ];
  list(parent, steps, (step) => `step ${step.name}`, makeStep, (item, step) => {
    attribute(item, "data-level", step.level);
    const [name, share, reached, bar] = item.children;
    text(name, step.title);
    number(reached, count(step.reached), step.reached);
    const part = view.visitors ? step.reached / view.visitors : 0;
    text(share, step.name && step.reached ? `1 in ${oneIn(view.visitors / step.reached)}` : step.name ? "none yet" : "");
    bar.firstChild.hidden = !part;
    bar.firstChild.style.width = `${part * 100}%`;
  });
}

function oneIn(ratio) {
  return ratio < 9.95 ? String(Number(ratio.toFixed(1))) : count(ratio);
}

function makeStep() {
  const bar = make("span", "bar-track", make("span", "bar-fill"));
  bar.setAttribute("aria-hidden", "true");
  return make("li", "", make("span", "step-name"), make("span", "step-share"), make("span", "step-reached"), bar);
}

export function segments(body, more, goal) {
  const rows = goal?.segments ?? [];
  list(body, rows, (s) => `${s.dimension}\n${s.value}`, makeSegment, (row, s) => {
    attribute(row, "data-level", s.level);
    const [name, visitors, rate, expected, missing, status] = row.children;
    text(name.children[0], s.value);
    text(name.children[1], s.dimension);
    number(visitors, count(s.visitors), s.visitors);
    number(rate, percent(s.rate), s.rate);
    attribute(rate, "title", s.rate === null ? "" : `95 % sure: ${percentDigits(s.lower)} to ${percent(s.upper)}`);
    text(expected, percent(s.expected));
    text(missing, s.missing === null ? NONE : amount(s.missing));
    text(status.firstChild.firstChild, s.status);
  });
  const left = goal?.more_segments ? `and ${count(goal.more_segments)} smaller ones` : "";
  more.hidden = rows.length > 0 && !left;
  text(more, rows.length ? left : "No segment seen yet.");
}

function makeSegment() {
  const name = make("th", "", make("span", "segment-value"), make("span", "segment-dimension"));
  name.scope = "row";
  const status = make("td", "", make("span", "status", make("span", "words")));
  return make("tr", "", name, ...["number", "number", "number wide", "number"].map((c) => make("td", c)), status);
}

export function alerts(parent, { alerts: records, watched }) {
  list(parent, records.length ? records : [{ alert_id: "none" }], (a) => String(a.alert_id), makeAlert, (item, a) => {
    const [title, when, sentence, where] = item.children;
    if (a.alert_id === "none") {
      attribute(item, "data-level", watched ? "ok" : "unknown");
      text(title, watched ? "No alert" : "Not watched");
      text(sentence, watched ? "One appears here as soon as a fall is proven." : "No detector watches these goals.");
      return;
    }
    attribute(item, "data-level", a.active ? a.level : "over");
    text(title, a.title);
    text(when, a.active ? `since ${moment(a.onset_at)}` : `over: ${moment(a.onset_at)} to ${time(a.resolved_at ?? a.onset_at)}`);
    text(sentence, unbroken(a.summary ?? ""));
    const parts = (a.segments ?? []).map((s) => `${s.dimension} ${s.value} ${Math.round(s.share * 100)} %`);
    text(where, a.active && parts.length ? `Where: ${parts.join(", ")}` : "");
  });
}

function makeAlert() {
  return make("li", "", make("strong", "status"), make("span", "when"), make("p", ""), make("p", "where"));
}

/** The points of the chart as a table, one row every five minutes, newest first. */
export function chartTable(table, { points, step }) {
  const every = Math.max(1, Math.round(300 / step));
  const rows = points.filter((p) => Math.round(p.time / step) % every === 0).reverse();
  const head = make("tr", "", ...["Time", "Rate", "95 % sure", "Expected"].map((name) => make("th", "", name)));
  for (const cell of head.children) cell.scope = "col";
  const body = rows.map((p) =>
    make("tr", "", ...[
      time(p.time),
      percent(p.rate),
      p.rate === null ? NONE : `${percentDigits(p.lower)} to ${percent(p.upper)}`,
      percent(p.expected),
    ].map((value) => make("td", "", value))),
  );
  table.replaceChildren(make("thead", "", head), make("tbody", "", ...body));
}
