// Adapters: their versions, where each comes from, what it has learned, and which of them answers.

import { download, every, get, send } from "../api.js";
import { lineage } from "../charts.js";
import { action, badge, confirmed, empty, facts, fill, h, select, table } from "../dom.js";
import { bytes, digest, tone, when, words } from "../format.js";
import { deleter, errorBox } from "../parts.js";
import { reportView } from "../report.js";

const MOST_VERSIONS = 50;

/** Every adapter. */
export async function adapters(place) {
  const known = await every("/v1/adapters");
  if (!known.length) {
    fill(place, empty("There is no adapter yet. ", h("a", { href: "#/train" }, "Train one"), "."));
    return;
  }
  fill(place, table("Adapters", ["Adapter", "Base", "State", "Provenance", "Answers with", "Updated"], known.map((one) => [
    h("a", { href: `#/adapters/${one.id}` }, one.id), one.base_model ?? "",
    one.state ? badge(one.state, tone(one.state)) : "", one.provenance ? badge(one.provenance, tone(one.provenance)) : "",
    h("code", {}, digest(one.latest_version)), when(one.update_time)])));
}

/** One adapter. */
export async function adapter(place, id, signal) {
  const path = `/v1/adapters/${encodeURIComponent(id)}`;
  const [found, versions] = await Promise.all([get(path, { signal }), get(`${path}/versions?page_size=${MOST_VERSIONS}`, { signal })]);
  const known = await Promise.all(versions.data.map((version) => withOrigin(version, signal)));
  const again = () => adapter(place, id, signal);
  fill(place,
    found.description && h("p", {}, found.description),
    h("div", { class: "row" }, h("a", { class: "button", href: `#/playground/${id}` }, "Try it in the playground"),
      deleter(id, "All its versions and aliases go with it.", `${path}?force=true`, () => { location.hash = "#/adapters"; })),
    aliasTable(path, found, known, again),
    h("h2", {}, "Versions"),
    known.length ? known.map((one, index) => versionCard(path, one, found, index === 0, again)) : empty("It has no version yet."));
}

// A version with the job that made it and its report, as far as they are still there.
async function withOrigin(version, signal) {
  if (!version.training_job) return { version, job: null, report: null };
  const job = encodeURIComponent(version.training_job);
  const ask = (path) => get(path, { signal }).catch((error) => {
    if (error.status !== 404 && error.status !== 400 && error.status !== 403) throw error;
    return null;
  });
  const [made, report] = await Promise.all([ask(`/v1/fine_tuning/jobs/${job}`), ask(`/v1/training_jobs/${job}/report`)]);
  return { version, job: made, report };
}

function aliasTable(path, found, known, again) {
  const rows = found.aliases.map((alias) => [
    h("code", {}, `${found.id}:${alias.id}`), h("code", {}, digest(alias.version)),
    alias.gated ? badge("gated", "good") : badge("open"), alias.reason ?? "", when(alias.update_time), mover(path, alias, known, again)]);
  return h("section", {}, h("h2", {}, "Aliases"), rows.length ? table("Aliases", ["Alias", "Version", "Gate", "Reason", "Moved", "Move to"], rows) : empty("No alias points at a version."));
}

function mover(path, alias, known, again) {
  const others = known.filter(({ version }) => version.state === "ready" && version.id !== alias.version);
  if (!others.length) return "";
  const choice = select(others.map(({ version, report }) => [version.id, `${digest(version.id)}${report ? ` · ${words(report.verdict)}` : ""}`]), { "aria-label": `Version for ${alias.id}` });
  const told = h("div", {});
  const current = known.find(({ version }) => version.id === alias.version)?.version;
  const name = () => {
    const target = others.find(({ version }) => version.id === choice.value).version;
    return current && target.create_time < current.create_time ? "Roll back" : "Promote";
  };
  const button = action(name(), async () => {
    fill(told);
    try {
      await move(path, alias, choice.value);
      await again();
    } catch (error) {
      fill(told, errorBox(error));
    }
  });
  choice.addEventListener("change", () => fill(button, name()));
  return h("div", { class: "mover" }, choice, button, told);
}

// A gate is asked without a reason first; whoever passes it all the same says why, and that is kept.
async function move(path, alias, version) {
  const to = `${path}/aliases/${encodeURIComponent(alias.id)}`;
  try {
    await send("PUT", to, { version, etag: alias.etag });
  } catch (error) {
    if (error.code !== "verdict_not_admitted") throw error;
    const answer = await confirmed("The gate does not let this version pass", h("p", {}, error.message), "Move it all the same", "Reason, which is kept and shown");
    if (answer.yes) await send("PUT", to, { version, etag: alias.etag, reason: answer.text });
  }
}

function versionCard(path, { version, job, report }, found, open, again) {
  const names = found.aliases.filter((alias) => alias.version === version.id).map((alias) => badge(alias.id, "good"));
  return h("details", { class: "card version", open },
    h("summary", {}, h("code", {}, digest(version.id)), " ", badge(version.state, tone(version.state)), " ", report ? badge(words(report.verdict), tone(report.verdict)) : null, " ", names, h("small", {}, when(version.create_time))),
    lineage(`Where ${digest(version.id)} comes from`, origin(version, job)),
    version.revoke_reason && h("p", { class: "error" }, `Revoked: ${version.revoke_reason}`),
    facts([
      ["Version", h("code", {}, version.id)], ["Base", `${version.base_model} (${digest(version.base_fingerprint_id)})`],
      ["Provenance", version.provenance], ["Signed by", version.signed_by.map(digest).join(", ")]]),
    exported(path, version, found.id),
    deleter(`${found.id}@${digest(version.id)}`, "It answers no more. A version to which an alias points stays.", `${path}/versions/${version.id}`, again),
    report ? reportView(report) : null);
}

function origin(version, job) {
  const base = { kind: "base", name: version.base_model, note: digest(version.base_fingerprint_id), href: "#/bases" };
  const made = { kind: "version", name: digest(version.id), note: version.provenance };
  if (!version.training_job) return [base, { ...made, note: "declared: trained elsewhere" }];
  const run = { kind: "job", name: version.training_job, note: when(job?.finished_at), href: `#/jobs/${version.training_job}` };
  return job ? [{ kind: "data set", name: job.training_file, note: "", href: `#/data/${job.training_file}` }, base, run, made] : [base, run, made];
}

function exported(path, version, id) {
  const files = [...version.files.map(({ path: name, size_bytes: size }) => [name, bytes(size)]), ["tenon.manifest.json", ""], ["tenon.manifest.dsse.json", ""]];
  const told = h("div", {});
  return h("details", {}, h("summary", {}, "Export"),
    h("p", {}, "A PEFT directory with a signed manifest, all at once: ", h("code", {}, `tenon adapter export ${id}@${digest(version.id)}`), ". Or file by file:"),
    h("ul", { class: "files" }, files.map(([name, size]) => h("li", {}, action(name, async () => {
      try {
        await download(`${path}/versions/${version.id}/files/${encodeURIComponent(name)}`, name);
      } catch (error) {
        fill(told, errorBox(error));
      }
    }, { class: "link" }), ` ${size}`))), told);
}
