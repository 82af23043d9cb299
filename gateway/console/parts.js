// What several pages show alike.

import { send } from "./api.js";
import { action, badge, confirmed, fill, h } from "./dom.js";
import { tone, words } from "./format.js";

/** Show an error's sentence; its lines stay lines. */
export function errorBox(error) {
  const [first, ...rest] = String(error.message ?? error).split("\n");
  const wrong = (error.violations ?? []).filter(({ description }) => !error.message.includes(description));
  return h("div", { class: "error", role: "alert" },
    h("p", {}, first),
    rest.length ? h("pre", {}, rest.join("\n")) : null,
    wrong.length ? h("ul", {}, wrong.map(({ field: name, description }) => h("li", {}, name ? `${name}: ${description}` : description))) : null);
}

/** Put an error in the place of what an element holds, unless somebody only went away. */
export function showError(place, error) {
  if (error.name === "AbortError") return;
  if (!("status" in error)) console.error(error);
  fill(place, errorBox(error));
}

/** What a plan or a training has found. */
export function findingItem({ severity, code, text, remedy }) {
  return h("li", { class: `finding ${tone(severity)}` }, badge(severity, tone(severity)), " ", h("strong", {}, words(code)), h("p", {}, text, remedy ? ` ${remedy}` : ""));
}

/** A figure with its name below. */
export function stat(name, value, note = "") {
  return h("div", { class: "stat" }, h("span", { class: "value" }, value), h("span", { class: "name" }, name), note ? h("small", {}, note) : null);
}

/** A button that deletes something once that is confirmed; what depends on it is shown as the gateway tells it. */
export function deleter(name, note, path, after) {
  const told = h("div", {});
  const button = action("Delete", async () => {
    fill(told);
    const { yes } = await confirmed(`Delete ${name}?`, h("p", {}, note), "Delete");
    if (!yes) return;
    try {
      await send("DELETE", path);
      await after();
    } catch (error) {
      fill(told, errorBox(error));
    }
  }, { class: "quiet danger", "aria-label": `Delete ${name}` });
  return h("div", { class: "deleter" }, button, told);
}
