// Two models side by side, answering the same question as they go.

import { events, get, request } from "../api.js";
import { field, fill, h, select } from "../dom.js";
import { errorBox } from "../parts.js";

const ANY = "";

/** Ask two models the same; `chosen` is an adapter to begin with, beside its base. */
export async function playground(place, chosen, signal) {
  const { data: models } = await get("/v1/models", { signal });
  if (!models.length) {
    fill(place, h("p", { class: "empty" }, "Nothing can answer yet. Add a base: tenon base add DIRECTORY."));
    return;
  }
  const adapter = models.find(({ id, tenon }) => tenon.kind === "adapter" && (!chosen || id === chosen) && tenon.version);
  const base = models.find(({ id }) => id === adapter?.tenon.base_model) ?? models[0];
  const sides = [new Side("Left", models, base.id), new Side("Right", models, (adapter ?? base).id)];
  const system = h("input", { maxlength: "8000" });
  const most = h("input", { type: "number", min: "1", max: "4096", value: "128", required: true });
  const heat = h("input", { type: "number", min: "0", max: "2", step: "0.1", value: "0", required: true });
  const prompt = h("textarea", { rows: "2", required: true, maxlength: "100000" });
  const ask = h("button", { class: "primary" }, "Ask both");
  const stop = h("button", { type: "button", disabled: true }, "Stop");
  const clear = h("button", { type: "button", class: "quiet", onclick: () => sides.forEach((side) => side.clear()) }, "New conversation");
  let running = new AbortController();
  stop.addEventListener("click", () => running.abort());
  signal.addEventListener("abort", () => running.abort());
  const form = h("form", { class: "card", onsubmit: async (event) => {
    event.preventDefault();
    running = new AbortController();
    ask.disabled = clear.disabled = true;
    stop.disabled = false;
    const question = prompt.value;
    const settings = { max_completion_tokens: most.valueAsNumber, temperature: heat.valueAsNumber };
    await Promise.all(sides.map((side) => side.answer(question, system.value, settings, running.signal)));
    ask.disabled = clear.disabled = false;
    stop.disabled = true;
    prompt.select();
  } },
    field("Question", prompt, "Ctrl+Enter asks."),
    h("details", {}, h("summary", {}, "System message and settings"), h("div", { class: "grid" },
      field("System message", system), field("Tokens at most", most), field("Temperature", heat, "0 always gives the same answer."))),
    h("div", { class: "actions" }, ask, stop, clear));
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !ask.disabled) form.requestSubmit();
  });
  fill(place, form, h("div", { class: "sides" }, sides.map((side) => side.element)));
}

class Side {
  constructor(name, models, chosen) {
    const bases = models.filter(({ tenon }) => tenon.kind === "base");
    this.model = modelChoice(models, bases);
    this.model.value = chosen;
    this.base = select([[ANY, "the one it was trained on"], ...bases.map(({ id }) => [id, id])]);
    this.turns = [];
    // A reader is told when an answer is whole, not with each word.
    this.log = h("div", { class: "turns", role: "log", "aria-label": `${name} conversation`, "aria-busy": "false", tabindex: "0" });
    this.element = h("section", { class: "card side", "aria-label": name }, h("div", { class: "grid" }, field("Model", this.model), field("On base", this.base)), this.log);
    this.model.addEventListener("change", () => this.clear());
  }

  clear() {
    this.turns = [];
    fill(this.log);
  }

  async answer(question, system, settings, signal) {
    const said = h("div", { class: "said assistant" });
    this.log.append(h("div", { class: "said user" }, question), said);
    this.log.setAttribute("aria-busy", "true");
    const asked = { role: "user", content: question };
    const messages = [...(system ? [{ role: "system", content: system }] : []), ...this.turns, asked];
    const body = { model: this.model.value, messages, stream: true, ...settings, ...(this.base.value === ANY ? {} : { base_model: this.base.value }) };
    let text = "";
    try {
      const response = await request("POST", "/v1/chat/completions", { json: body, signal });
      let by = null;
      for await (const chunk of events(response)) {
        by = chunk.tenon ?? by;
        text += chunk.choices[0]?.delta.content ?? "";
        said.textContent = text;
        this.log.scrollTop = this.log.scrollHeight;
      }
      said.textContent = text || "(an empty answer)";
      if (by) this.log.append(h("p", { class: "by" }, answeredBy(by)));
      this.turns.push(asked, { role: "assistant", content: text });
    } catch (error) {
      if (error.name === "AbortError") this.log.append(h("p", { class: "by" }, "Stopped."));
      else said.replaceWith(errorBox(error));
    }
    this.log.setAttribute("aria-busy", "false");
    this.log.scrollTop = this.log.scrollHeight;
  }
}

function modelChoice(models, bases) {
  const options = (list) => list.map((id) => h("option", { value: id }, id));
  const adapters = models.filter(({ tenon }) => tenon.kind === "adapter");
  const names = adapters.flatMap(({ id, tenon }) => [id, ...tenon.aliases.filter((alias) => alias !== "latest").map((alias) => `${id}:${alias}`)]);
  return h("select", {}, h("optgroup", { label: "Bases" }, options(bases.map(({ id }) => id))), names.length ? h("optgroup", { label: "Adapters" }, options(names)) : null);
}

function answeredBy({ base_model: base, adapter_version: version, base_fingerprint_id: fingerprint }) {
  const [name, digest] = (version ?? "").split("@");
  return `${version ? `${name}@${digest.slice(0, 12)} on ` : ""}${base} (${fingerprint.slice(0, 12)})`;
}
