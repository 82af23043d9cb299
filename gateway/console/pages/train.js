// Train: what a job would be, reckoned before it starts.

import { every, get, send } from "../api.js";
import { confirmed, empty, facts, field, fill, h, select } from "../dom.js";
import { bytes, count, duration, figure } from "../format.js";
import { errorBox, findingItem, showError, stat } from "../parts.js";

const SETTLE_MS = 600;

// What the form asks for: the name of the API, what people call it, and how it is typed.
const BASIC = [
  ["n_epochs", "Epochs", { min: "1", step: "1" }],
  ["batch_size", "Batch size", { min: "1", step: "1" }],
  ["learning_rate", "Learning rate", { min: "0", step: "any" }],
  ["lora_rank", "LoRA rank", { min: "1", step: "1" }],
  ["lora_alpha", "LoRA alpha", { min: "0", step: "any" }],
  ["max_sequence_length", "Tokens a row", { min: "1", step: "1" }],
];
const FURTHER = [
  ["warmup_ratio", "Warm-up share", { min: "0", max: "1", step: "any" }],
  ["weight_decay", "Weight decay", { min: "0", step: "any" }],
  ["max_gradient_norm", "Longest gradient", { min: "0", step: "any" }],
  ["early_stopping_patience", "Early stopping after", { min: "0", step: "1" }],
];

/** Choose base and data, see the plan, start; `chosen` is a file to begin with. */
export async function train(place, chosen, signal) {
  const [bases, { data: files }] = await Promise.all([every("/v1/base_models"), get("/v1/files", { signal })]);
  if (!bases.length || !files.length) {
    fill(place, bases.length ? empty("No file is kept yet. ", h("a", { href: "#/data" }, "Add one"), ".") : empty("There is no base yet. Add one on the command line: ", h("code", {}, "tenon base add DIRECTORY"), "."));
    return;
  }
  new TrainForm(place, bases, files, signal).begin(chosen);
}

class TrainForm {
  constructor(place, bases, files, signal) {
    this.signal = signal;
    this.base = select(bases.map(({ id }) => [id, id]), { required: true });
    this.file = select(files.map(({ id, filename }) => [id, `${filename} (${id})`]), { required: true });
    this.validation = select([["", "a share of the file, or none"], ...files.map(({ id, filename }) => [id, `${filename} (${id})`])]);
    this.share = h("input", { type: "number", min: "0", max: "0.5", step: "any", placeholder: "auto" });
    this.name = h("input", { required: true, maxlength: "63", pattern: "[a-z0-9]([a-z0-9\\-]*[a-z0-9])?", autocomplete: "off", spellcheck: "false" });
    this.schedule = select([["", "auto"], ["linear", "linear"], ["cosine", "cosine"], ["constant", "constant"]]);
    this.numbers = new Map([...BASIC, ...FURTHER].map(([name, , limits]) => [name, h("input", { type: "number", placeholder: "auto", name, ...limits })]));
    this.switches = new Map([["use_rslora", "rsLoRA"], ["use_dora", "DoRA"]].map(([name, text]) => [name, h("input", { type: "checkbox", name, "aria-label": text })]));
    this.plan = h("section", { class: "card plan", "aria-live": "polite", "aria-label": "Plan" });
    this.start = h("button", { class: "primary", disabled: true }, "Start training");
    this.told = h("div", {});
    fill(place, this.form(), this.plan);
  }

  form() {
    const inputs = (list) => list.map(([name, text]) => field(text, this.numbers.get(name)));
    return h("form", { class: "card", onsubmit: (event) => this.submit(event), onchange: () => this.changed() },
      h("div", { class: "grid" },
        field("Base", this.base), field("Data", this.file), field("Name of the adapter", this.name, "a-z, 0-9 and -; a name that is there gets a new version.")),
      h("fieldset", {}, h("legend", {}, "Hyperparameters"), h("p", { class: "hint" }, "Left empty, each is chosen for this base and this data; the grey figure is what was chosen."), h("div", { class: "grid narrow" }, inputs(BASIC))),
      h("details", {}, h("summary", {}, "Held-out rows and further settings"),
        h("div", { class: "grid narrow" }, field("Measure on", this.validation), field("Share to hold out", this.share), inputs(FURTHER), field("Schedule", this.schedule),
          [...this.switches.values()].map((box) => h("label", { class: "check" }, box, ` ${box.getAttribute("aria-label")}`)))),
      this.told, h("div", { class: "actions" }, this.start));
  }

  begin(chosen) {
    if (chosen) this.file.value = chosen;
    this.changed();
  }

  body() {
    const typed = [...this.numbers].filter(([, input]) => input.value !== "").map(([name, input]) => [name, input.valueAsNumber]);
    const ticked = [...this.switches].filter(([, box]) => box.checked).map(([name]) => [name, true]);
    const hyperparameters = Object.fromEntries([...typed, ...ticked, ...(this.schedule.value ? [["schedule", this.schedule.value]] : [])]);
    const heldOut = this.validation.value ? { validation_file: this.validation.value } : this.share.value ? { validation_fraction: this.share.valueAsNumber } : {};
    return { model: this.base.value, training_file: this.file.value, ...heldOut, method: { type: "supervised", supervised: { hyperparameters } } };
  }

  // A plan takes a process and reads every row, so it waits until the form is left alone, and for the plan before it.
  changed() {
    clearTimeout(this.timer);
    this.start.disabled = true;
    this.timer = setTimeout(() => this.reckon(), SETTLE_MS);
  }

  async reckon() {
    if (this.reckoning) return;
    this.reckoning = true;
    let asked;
    fill(this.plan, h("h2", {}, "Plan"), h("p", { role: "status" }, "Reckoning…"));
    try {
      for (let plan; asked !== JSON.stringify(this.body()) && !this.signal.aborted; this.show(plan)) {
        asked = JSON.stringify(this.body());
        plan = await send("POST", "/v1/training_jobs/plan", JSON.parse(asked), { signal: this.signal });
      }
      this.start.disabled = false;
    } catch (error) {
      showError(this.plan, error);
    }
    this.reckoning = false;
    // What was refused may have been mended meanwhile.
    if (this.start.disabled && asked !== JSON.stringify(this.body())) this.changed();
  }

  show(plan) {
    this.hopeless = plan.findings.filter(({ severity }) => severity === "hopeless");
    fill(this.start, this.hopeless.length ? "Start all the same…" : "Start training");
    for (const [name, input] of this.numbers) input.placeholder = plan.hyperparameters[name] === "auto" ? "auto" : figure(plan.hyperparameters[name]);
    if (plan.hyperparameters.schedule) this.schedule.options[0].textContent = `auto: ${plan.hyperparameters.schedule}`;
    fill(this.plan, h("h2", {}, "Plan"),
      h("div", { class: "stats" },
        stat("steps", count(plan.steps)), stat("rows", count(plan.rows), `${count(plan.validation_rows)} held out`), stat("tokens learnt", count(plan.supervised_tokens)),
        stat("LoRA parameters", count(plan.lora_parameters)), stat("memory", bytes(plan.memory_bytes), `of ${bytes(plan.memory_available_bytes)}`), stat("time", duration(plan.seconds))),
      plan.findings.length ? h("ul", { class: "findings" }, plan.findings.map(findingItem)) : h("p", { class: "good" }, "Nothing speaks against it."),
      plan.seconds_basis && h("details", {}, h("summary", {}, "How this was reckoned"), h("p", {}, plan.seconds_basis), facts(Object.entries(plan.memory_parts).map(([part, size]) => [part, bytes(size)]))));
  }

  async submit(event) {
    event.preventDefault();
    const body = { ...this.body(), adapter: this.name.value };
    if (this.hopeless?.length) {
      const list = h("ul", { class: "findings" }, this.hopeless.map(findingItem));
      const { yes } = await confirmed("Train although the plan is hopeless?", [list, h("p", {}, "That it was forced is kept with the job and in the adapter's manifest.")], "Train all the same");
      if (!yes) return;
      body.force = true;
    }
    this.start.disabled = true;
    try {
      const job = await send("POST", "/v1/fine_tuning/jobs", body);
      location.hash = `#/jobs/${job.id}`;
    } catch (error) {
      this.start.disabled = false;
      fill(this.told, errorBox(error));
    }
  }
}
