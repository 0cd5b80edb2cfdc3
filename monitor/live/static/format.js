// Numbers and times as people read them. Rates come as 0..1, times as epoch seconds.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const clockSeconds = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const unitNames = { s: "second", m: "minute", h: "hour", d: "day" };

export const NONE = "–";

export function count(value) {
  return whole.format(value);
}

/** "3 %" stays together at the end of a line. */
export function unbroken(sentence) {
  return sentence.replace(/ %/g, "\u00a0%");
}

/** 0.0358 → "3.58 %": two decimals, one from 10 % on, three below 0.1 %. */
export function percent(ratio) {
  if (ratio === null || ratio === undefined) return NONE;
  return `${percentDigits(ratio)}\u00a0%`;
}

export function percentDigits(ratio) {
  const value = ratio * 100;
  return value.toFixed(value >= 10 ? 1 : value > 0 && value < 0.1 ? 3 : 2);
}

/** How far a rate is from what is expected: "−44 %", "+3 %". */
export function change(ratio, expected) {
  if (ratio === null || !expected) return "";
  const part = Math.round((ratio / expected - 1) * 100);
  return part === 0 ? "±0\u00a0%" : `${part > 0 ? "+" : "−"}${Math.abs(part)}\u00a0%`;
}

/** An exact decimal string with its ISO 4217 currency; the code itself where the browser does not know it. */
export function money(amount, currency) {
  try {
    return new Intl.NumberFormat("en", { style: "currency", currency }).format(amount);
  } catch {
    return `${amount} ${currency}`;
  }
}

export function time(seconds) {
  return clock.format(seconds * 1000);
}

export function timeSeconds(seconds) {
  return clockSeconds.format(seconds * 1000);
}

/** The time, with its date in front if that is not today. */
export function moment(seconds, withSeconds = false) {
  const date = new Date(seconds * 1000);
  const text = withSeconds ? timeSeconds(seconds) : time(seconds);
  return date.toDateString() === new Date().toDateString() ? text : `${day.format(date)}, ${text}`;
}

/** "5m" → "last 5 minutes", "1h" → "last hour"; names that are not of that form stay. */
export function last(window) {
  const parts = /^(\d+)([smhd])$/.exec(window);
  if (!parts) return `last ${window}`;
  const unit = unitNames[parts[2]];
  return parts[1] === "1" ? `last ${unit}` : `last ${parts[1]} ${unit}s`;
}

/** Conversions lost or missing: one decimal below ten. */
export function amount(value) {
  return value < 9.95 ? value.toFixed(1) : count(value);
}
