// Who changed what, and how it ended.

import { get } from "../api.js";
import { action, badge, empty, fill, h, table } from "../dom.js";
import { when } from "../format.js";

const HEADINGS = ["When", "Who", "What", "On", "Project", "From", "Outcome"];

/** The audit log, the latest first; a key without the scope admin is told so. */
export async function activity(place, _item, signal) {
  let token = "";
  const rows = [];
  // A key for all projects sees what belongs to none as well, such as bases.
  const all = (await get("/v1/session", { signal })).project === null;
  const more = action("Show earlier ones", next);
  async function next() {
    const page = await get(`/v1/audit_events?page_size=100&all_projects=${all}&page_token=${encodeURIComponent(token)}`, { signal });
    rows.push(...page.data);
    token = page.next_page_token;
    more.hidden = !token;
    fill(place, rows.length ? table("Audit log", HEADINGS, rows.map(cells)) : empty("Nothing has been changed yet."), more);
  }
  try {
    await next();
  } catch (error) {
    if (error.status !== 403) throw error;
    fill(place, empty("The audit log is for keys with the scope admin. Log in with one to see it: ", h("code", {}, "tenon key create --scope admin"), "."));
  }
}

function cells({ time, principal, method, resource, project, peer, code }) {
  return [when(time), principal.split("/").at(-1), method.split("/").at(-1), resource, project, peer, badge(code, code === "OK" ? "good" : "bad")];
}
