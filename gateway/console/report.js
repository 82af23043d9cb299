// What a training has taught: the verdict, its reasons, and base beside adapter.

import { badge, facts, h } from "./dom.js";
import { count, figure, percent, tone, words } from "./format.js";
import { stat } from "./parts.js";

/** A report of a training. */
export function reportView(report) {
  const { held_out: heldOut, trained, curve } = report;
  return h("section", { class: "card report" },
    h("div", { class: "row" }, h("h2", {}, "Report"), badge(words(report.verdict), tone(report.verdict))),
    h("ul", {}, report.reasons.map((reason) => h("li", {}, reason))),
    h("div", { class: "stats" }, heldOut ? measured("held-out rows", heldOut) : null, measured("rows trained on", trained)),
    facts([
      ["Steps", count(curve.steps)], ["Loss", `${figure(curve.first)} → ${figure(curve.last)}`],
      ["Rows that teach where answers end", percent(report.end_of_turn_share)], ["Forced", report.forced && "yes"]]),
    report.answers.length ? [h("h3", {}, "Base beside adapter"), report.answers.map(answer)] : null);
}

function measured(name, { rows, base_loss: base, adapter_loss: adapter, base_accuracy: baseRight, adapter_accuracy: right }) {
  return stat(`loss on ${count(rows)} ${name}`, `${figure(base)} → ${figure(adapter)}`, `right tokens ${percent(baseRight)} → ${percent(right)}`);
}

function answer({ prompt, expected, base, adapter }) {
  return h("article", { class: "sample" },
    h("p", { class: "prompt" }, prompt),
    h("dl", { class: "columns" },
      [["Expected", expected], ["Base", base], ["Adapter", adapter]].map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", { class: "said" }, text || "(nothing)")))));
}
