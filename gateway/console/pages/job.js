// One job, live: its loss, its speed, what it says, and what it has taught.

import { events, get, request, send } from "../api.js";
import { lineChart } from "../charts.js";
import { action, badge, confirmed, facts, fill, h } from "../dom.js";
import { bytes, count, duration, ended, figure, tone, when } from "../format.js";
import { deleter, errorBox, findingItem, stat } from "../parts.js";
import { reportView } from "../report.js";

const REDRAW_MS = 200;
const TELL_MS = 5000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;
const MOST_LOG_LINES = 2000;

/** Follow a job until it has ended or the page is left. */
export async function job(place, id, signal) {
  const view = new JobView(place, id, signal);
  view.update(await get(`/v1/fine_tuning/jobs/${encodeURIComponent(id)}`, { signal }));
  await view.follow();
}

class JobView {
  constructor(place, id, signal) {
    this.path = `/v1/training_jobs/${encodeURIComponent(id)}`;
    this.signal = signal;
    this.sequence = 0;
    this.steps = [];
    this.heldOut = [];
    this.top = h("div", { class: "card" });
    this.stats = h("div", { class: "stats" });
    this.chart = h("div", { class: "card chart-card", hidden: true });
    this.findings = h("ul", { class: "findings" });
    this.report = h("div", {});
    this.log = h("ol", { class: "log" });
    // Read out now and then; every step would be too much.
    this.told = h("p", { class: "unseen", role: "status", "aria-live": "polite" });
    this.toldAt = 0;
    fill(place, this.top, this.stats, this.chart, this.findings, this.report,
      h("section", {}, h("h2", {}, "Log"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Log" }, this.log)), this.told);
  }

  update(job) {
    this.job = job;
    const { state, adapter, attempt, priority, force } = job.tenon;
    const can = (name, text, states, properties) => states.includes(state) && action(text, () => this.ask(name), properties);
    fill(this.top,
      h("div", { class: "row" }, badge(state, tone(state)), h("div", { class: "actions" },
        can("pause", "Pause", ["queued", "running"]),
        can("resume", "Resume", ["paused"], { class: "primary" }),
        can("cancel", "Cancel", ["queued", "running", "pausing", "paused"], { class: "danger" }),
        ended(state) && deleter(job.id, "Its events and its report go with it; the version that it made stays.", this.path, () => { location.hash = "#/jobs"; }))),
      job.error && errorBox(job.error),
      facts([
        ["Adapter", h("a", { href: `#/adapters/${adapter}` }, adapter)], ["Base", job.model], ["Data", job.training_file],
        ["Held out", job.validation_file], ["Created", when(job.created_at)], ["Finished", when(job.finished_at)],
        ["Attempts", attempt > 1 && count(attempt)], ["Priority", priority || ""], ["Forced", force && "yes: the plan was hopeless"]]));
    this.say(true);
  }

  async ask(name) {
    if (name === "cancel" && !(await confirmed("Cancel this job?", h("p", {}, "It stops for good. To go on later, pause it."), "Cancel the job")).yes) return;
    try {
      this.update(await send("POST", `/v1/fine_tuning/jobs/${encodeURIComponent(this.job.id)}/${name}`));
    } catch (error) {
      this.top.append(errorBox(error));
    }
  }

  // The stream may break off: services restart, laptops sleep. It goes on from the last event that came.
  async follow() {
    let wait = FIRST_WAIT_MS;
    while (!this.signal.aborted) {
      try {
        const response = await request("GET", `${this.path}/watch?after=${this.sequence}`, { signal: this.signal });
        for await (const update of events(response)) {
          this.take(update);
          wait = FIRST_WAIT_MS;
        }
        if (ended(this.job.tenon.state)) break;
      } catch (error) {
        if (this.signal.aborted) return;
        if (![0, 200, 503, 504].includes(error.status) && error.name !== "TypeError") throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, wait));
      wait = Math.min(2 * wait, LONGEST_WAIT_MS);
    }
    await this.finish();
  }

  take({ job, event }) {
    if (job) {
      this.update(job);
      return;
    }
    this.sequence = event.sequence;
    const { type, data, time } = event;
    if (type === "metrics") {
      this.latest = data;
      this.steps.push([data.step, data.loss]);
      if (data.validation_loss !== null) this.heldOut.push([data.step, data.validation_loss]);
    } else if (type === "finding") {
      this.findings.append(findingItem(data));
    } else {
      this.write(time, sentence(type, data), type === "message" ? data.level : data.error ? "error" : "info");
    }
    if (type === "state") this.refresh();
    this.redraw();
  }

  write(time, text, level) {
    this.log.append(h("li", { class: tone(level) }, h("time", { datetime: time }, time.slice(11, 19)), ` ${text}`));
    if (this.log.children.length > MOST_LOG_LINES) this.log.firstChild.remove();
  }

  refresh() {
    get(`/v1/fine_tuning/jobs/${encodeURIComponent(this.job.id)}`, { signal: this.signal }).then((job) => this.update(job), () => {});
  }

  redraw() {
    if (this.drawing || !this.latest) return;
    this.drawing = true;
    setTimeout(() => {
      this.drawing = false;
      if (!this.signal.aborted) this.draw();
    }, REDRAW_MS);
  }

  draw() {
    const { step, total_steps: total, loss, learning_rate: rate, gradient_norm: norm, tokens_per_second: speed, epoch, memory_bytes: memory } = this.latest;
    const left = speed && step ? this.secondsLeft(step, total) : NaN;
    fill(this.stats,
      stat("step", `${count(step)}/${count(total)}`, h("progress", { max: total, value: step, "aria-label": "Progress" })),
      stat("loss", figure(loss)),
      stat("held-out loss", this.heldOut.length ? figure(this.heldOut.at(-1)[1]) : "–"),
      stat("tokens a second", figure(Math.round(speed)), Number.isFinite(left) && step < total ? `about ${duration(left)} left` : ""),
      stat("learning rate", figure(rate)), stat("gradient norm", figure(norm)), stat("epoch", figure(epoch)), stat("memory", bytes(memory)));
    this.chart.hidden = false;
    lineChart(this.chart, "Loss by step", [
      { name: "loss", kind: "train", points: this.steps }, { name: "held-out loss", kind: "held-out", points: this.heldOut }], total);
    this.say(false);
  }

  secondsLeft(step, total) {
    this.since ??= { step, at: performance.now() };
    const done = step - this.since.step;
    return done > 0 ? ((performance.now() - this.since.at) / 1000 / done) * (total - step) : NaN;
  }

  say(now) {
    if (!now && performance.now() - this.toldAt < TELL_MS) return;
    this.toldAt = performance.now();
    const at = this.latest ? `, step ${this.latest.step} of ${this.latest.total_steps}, loss ${figure(this.latest.loss)}` : "";
    this.told.textContent = `The job is ${this.job.tenon.state}${at}.`;
  }

  async finish() {
    if (this.latest) this.draw();
    if (this.job.tenon.state !== "succeeded") return;
    const report = await get(`${this.path}/report`, { signal: this.signal });
    const { adapter } = this.job.tenon;
    fill(this.report, reportView(report), h("p", {}, h("a", { class: "button primary", href: `#/playground/${adapter}` }, "Try it in the playground"), " ", h("a", { class: "button", href: `#/adapters/${adapter}` }, "See the adapter")));
  }
}

function sentence(type, data) {
  if (type === "checkpoint") return `A checkpoint is kept after step ${count(data.step)} (${bytes(data.size_bytes)}).`;
  if (type === "state") return `The job is ${data.state}.${data.error ? ` ${data.error.message}` : ""}`;
  return data.text;
}
