// The bases, by the fingerprint of their bytes, and who needs them.

import { every } from "../api.js";
import { badge, empty, facts, fill, h } from "../dom.js";
import { count, when } from "../format.js";
import { deleter } from "../parts.js";

/** Every base with its fingerprint and the adapters that answer on it only. */
export async function bases(place, item, signal) {
  const [known, adapters] = await Promise.all([every("/v1/base_models"), every("/v1/adapters")]);
  if (!known.length) {
    fill(place, empty("There is no base yet. Add one on the command line: ", h("code", {}, "tenon base add DIRECTORY"), "."));
    return;
  }
  const again = () => bases(place, item, signal);
  fill(place, known.map((base) => card(base, adapters.filter(({ base_model: id }) => id === base.id), again)));
}

function card({ id, display_name: shown, fingerprint, sources, create_time: created }, dependants, again) {
  return h("section", { class: "card", "aria-label": id },
    h("div", { class: "row" }, h("h2", {}, id), badge(fingerprint.architecture), deleter(id, "Its files stay where they are. Adapters and jobs that need it keep it.", `/v1/base_models/${encodeURIComponent(id)}`, again)),
    shown && shown !== id ? h("p", {}, shown) : null,
    facts([
      ["Fingerprint", h("code", {}, fingerprint.id)], ["Parameters", count(fingerprint.parameter_count)],
      ["Derived from", fingerprint.derived_from], ["Sources", sources.join(", ")], ["Added", when(created)],
      ["Adapters that need it", dependants.length ? h("ul", { class: "inline" }, dependants.map(({ id: name }) => h("li", {}, h("a", { href: `#/adapters/${name}` }, name)))) : "none"]]),
    h("details", {}, h("summary", {}, "Parts of the fingerprint"), facts([
      ["Weights", h("code", {}, fingerprint.weights_root)], ["Structure", h("code", {}, fingerprint.structure_root)],
      ["Configuration", h("code", {}, fingerprint.config_digest)], ["Tokenizer", h("code", {}, fingerprint.tokenizer_digest)],
      ["Chat template", fingerprint.chat_template_digest && h("code", {}, fingerprint.chat_template_digest)],
      ["Code", fingerprint.code_digest && h("code", {}, fingerprint.code_digest)]])));
}
