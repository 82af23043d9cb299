// The way in: an API key, exchanged for a cookie that scripts cannot read.

import { send } from "./api.js";
import { field, fill, h } from "./dom.js";

/** Ask for a key until one is good, then go on. */
export function logIn(place, text, done) {
  const key = h("input", { type: "password", name: "api_key", autocomplete: "current-password", required: true, spellcheck: "false" });
  const told = h("p", { role: "alert", class: text ? "error" : "" }, text);
  const form = h("form", { class: "login card", onsubmit: async (event) => {
    event.preventDefault();
    try {
      await send("POST", "/v1/session", { api_key: key.value.trim() });
    } catch (error) {
      told.className = "error";
      told.textContent = error.status === 401 ? "This is no valid key: it is unknown, revoked or expired." : error.message;
      key.select();
      return;
    }
    await done();
  } },
    h("h1", {}, "Log in"),
    field("API key", key, "It stays in a cookie that pages cannot read, for twelve hours. On the machine that runs tenon up, the first key is in run/admin.key of its data directory."),
    told,
    h("button", { class: "primary" }, "Log in"));
  fill(place, form);
  key.focus();
}
