// The frame around every page: who is logged in, where one is, and whether the suite answers.

import { get, onTrouble, request, send, useProject } from "./api.js";
import { fill, h, select } from "./dom.js";
import { logIn } from "./login.js";
import { showError } from "./parts.js";
import { activity } from "./pages/activity.js";
import { adapter, adapters } from "./pages/adapters.js";
import { bases } from "./pages/bases.js";
import { data } from "./pages/data.js";
import { job } from "./pages/job.js";
import { jobs } from "./pages/jobs.js";
import { playground } from "./pages/playground.js";
import { train } from "./pages/train.js";

// Each page gets the element to fill, what follows its name in the address, and a signal that ends it.
const PAGES = {
  data: { title: "Data", show: data },
  train: { title: "Train", show: train },
  jobs: { title: "Jobs", show: jobs, item: job },
  adapters: { title: "Adapters", show: adapters, item: adapter },
  bases: { title: "Bases", show: bases },
  playground: { title: "Playground", show: playground },
  activity: { title: "Activity", show: activity },
};
const FIRST = "data";
const RETRY_MS = 2000;

const head = document.getElementById("head");
const banner = document.getElementById("banner");
const main = document.getElementById("main");

let leave = new AbortController();
let session = null;
let failed = false;
let waiting = false;

function place() {
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  return { name: Object.hasOwn(PAGES, name) ? name : FIRST, item: decoded(rest.join("/")) };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function show() {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const { name, item } = place();
  const page = PAGES[name];
  const title = item && page.item ? item : page.title;
  document.title = `${title} · Tenon`;
  for (const link of head.querySelectorAll("nav a")) {
    if (link.hash === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const heading = h("h1", { tabindex: "-1" }, title);
  const body = h("div", { class: `page ${name}` });
  fill(main, heading, body);
  failed = false;
  try {
    await (item && page.item ? page.item : page.show)(body, item, signal);
  } catch (error) {
    if (signal.aborted) return;
    failed = true;
    showError(body, error);
  }
}

async function draw() {
  const links = Object.entries(PAGES).map(([name, page]) => h("a", { href: `#/${name}` }, page.title));
  fill(head,
    h("a", { class: "brand", href: "#/data", "aria-label": "Tenon, start" }, h("img", { src: "icon.svg", alt: "", width: "24", height: "24" }), "Tenon"),
    h("nav", { "aria-label": "Pages" }, links),
    h("div", { class: "who" }, await projects(), session.prefix && [
      h("span", { class: "key", title: `${session.principal}: ${session.scopes.join(", ")}` }, `${session.prefix}…`),
      h("button", { type: "button", class: "quiet", onclick: logOut }, "Log out")]));
}

async function projects() {
  if (session.project !== null || !session.prefix) return null;
  const known = (await get("/v1/projects").catch(() => ({ data: [] }))).data;
  if (known.length < 2) return null;
  const choice = select(known.map(({ id, display_name: shown }) => [id, shown || id]), { "aria-label": "Project", onchange: () => {
    localStorage.setItem("tenon-project", choice.value);
    useProject(choice.value);
    show();
  } });
  const kept = localStorage.getItem("tenon-project");
  choice.value = known.some(({ id }) => id === kept) ? kept : known[0].id;
  useProject(choice.value);
  return choice;
}

function focusHeading() {
  main.querySelector("h1")?.focus();
}

async function begin() {
  try {
    session = await get("/v1/session");
  } catch (error) {
    if (error.status === 401) askForKey();
    else showError(main, error);
    return;
  }
  await draw();
  await show();
}

function askForKey(text = "") {
  leave.abort();
  session = null;
  fill(head, h("span", { class: "brand" }, h("img", { src: "icon.svg", alt: "", width: "24", height: "24" }), "Tenon"));
  document.title = "Log in · Tenon";
  logIn(main, text, async () => {
    await begin();
    focusHeading();
  });
}

async function logOut() {
  await send("DELETE", "/v1/session");
  useProject("");
  askForKey();
}

// A banner while something is down, asked about until it is back; then what had failed is shown anew.
async function watchOutage() {
  if (waiting) return;
  waiting = true;
  for (let down = await outage(); ; down = await outage()) {
    if (down && banner.textContent !== down) fill(banner, down);
    banner.hidden = !down;
    // Also where all is well again already, so that what goes on failing is not asked for without a pause.
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    if (!down) break;
  }
  waiting = false;
  if (!session) await begin();
  else if (failed) await show();
}

async function outage() {
  const response = await fetch("/readyz").catch(() => null);
  if (!response) return "The gateway does not answer. Trying again…";
  if (response.ok) return "";
  const answer = await response.json().catch(() => null);
  const names = Object.keys(answer?.error?.details?.metadata ?? {});
  const which = names.length ? `Down at the moment: ${names.join(", ")}.` : "A service is down.";
  return `${which} Trying again…`;
}

onTrouble({
  unauthenticated: () => session && askForKey("The session is over. Log in again."),
  unavailable: watchOutage,
});
addEventListener("hashchange", async () => {
  if (!session) return;
  await show();
  focusHeading();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
await begin();
