// Numbers, times and names as people read them.

/** A whole number with separators. */
export function count(value) {
  return Number(value).toLocaleString("en");
}

/** A number with few digits, small ones included. */
export function figure(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && size < 0.001) return value.toExponential(1);
  return value.toLocaleString("en", { maximumSignificantDigits: size >= 1000 ? 6 : 4 });
}

/** A share as a percentage. */
export function percent(share) {
  return `${(100 * share).toLocaleString("en", { maximumFractionDigits: 1 })} %`;
}

/** A size of `value` bytes. */
export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let left = Number(value);
  while (left >= 1024 && unit < units.length - 1) {
    left /= 1024;
    unit += 1;
  }
  return `${left.toLocaleString("en", { maximumFractionDigits: unit ? 1 : 0 })} ${units[unit]}`;
}

/** A span of so many seconds. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 1) return "< 1 s";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toLocaleString("en", { maximumFractionDigits: 1 })} h`;
}

/** A time, from seconds since 1970 or text; empty for none. */
export function when(time) {
  if (!time) return "";
  const date = new Date(typeof time === "number" ? time * 1000 : time);
  return date.toLocaleString("sv").slice(0, 16);
}

/** The part of a digest that people compare. */
export function digest(text) {
  return text ? text.slice(0, 12) : "";
}

/** The words of a code: not_learned → not learned. */
export function words(code) {
  return String(code).toLowerCase().replaceAll("_", " ");
}

/** The tone of a job's state or a report's verdict. */
export function tone(word) {
  if (["succeeded", "learned", "ready", "witnessed"].includes(word)) return "good";
  if (["failed", "not_learned", "revoked", "hopeless", "error"].includes(word)) return "bad";
  if (["weak", "overfitted", "paused", "pausing", "cancelling", "warning", "warn", "declared"].includes(word)) return "warn";
  return "plain";
}

/** Whether a job of this state changes no more. */
export function ended(state) {
  return ["succeeded", "failed", "cancelled"].includes(state);
}
