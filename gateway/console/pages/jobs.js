// Every job, with how far it is.

import { get } from "../api.js";
import { badge, empty, fill, h, table } from "../dom.js";
import { ended, figure, tone, when } from "../format.js";

const AGAIN_MS = 3000;

/** The list of jobs, looked up again while one of them runs. */
export async function jobs(place, _item, signal) {
  for (;;) {
    const { data } = await get("/v1/fine_tuning/jobs?limit=100", { signal });
    if (!data.length) {
      fill(place, empty("Nothing has been trained yet. ", h("a", { href: "#/train" }, "Train an adapter"), "."));
      return;
    }
    const focused = document.activeElement?.getAttribute("href");
    fill(place, table("Jobs", ["Job", "Adapter", "Base", "State", "Progress", "Loss", "Created"], data.map(row)));
    if (focused) place.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    if (data.every(({ tenon }) => ended(tenon.state))) return;
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    if (signal.aborted) return;
  }
}

function row(job) {
  const { state, adapter, progress } = job.tenon;
  return [
    h("a", { href: `#/jobs/${job.id}` }, job.id),
    h("a", { href: `#/adapters/${adapter}` }, adapter),
    job.model,
    badge(state, tone(state)),
    progress.total_steps ? h("progress", { max: progress.total_steps, value: progress.step, "aria-label": `step ${progress.step} of ${progress.total_steps}` }) : "",
    progress.step ? figure(progress.loss) : "",
    when(job.created_at),
  ];
}
