// Data: a file is checked before anything is stored, and shown as a base would read it.

import { every, get, lines, request } from "../api.js";
import { histogram } from "../charts.js";
import { action, badge, empty, facts, field, fill, h, select, table } from "../dom.js";
import { bytes, count, digest, percent, when, words } from "../format.js";
import { deleter, showError, stat } from "../parts.js";

const MOST_FAULTS_SHOWN = 500;

/** Drop or choose a file, see its faults by line, keep it; and what a base makes of a file that is kept. */
export async function data(place, chosen, signal) {
  const result = h("section", { "aria-live": "polite" });
  const stored = h("section", {});
  const detail = h("section", {});
  const refresh = async () => listed(stored, (await get("/v1/files", { signal })).data, refresh);
  fill(place, dropZone((file) => check(file, result, refresh)), result, detail, stored);
  await refresh();
  if (chosen) await looked(detail, chosen, signal);
}

function dropZone(take) {
  const input = h("input", { type: "file", accept: ".json,.jsonl,.parquet", onchange: () => input.files[0] && take(input.files[0]) });
  const zone = h("div", { class: "drop card" }, field("Drop a file of training rows here, or choose one", input, "JSON Lines, JSON or Parquet: Alpaca, ShareGPT, OpenAI chat, prompt and completion. It is checked first; nothing is kept until you say so."));
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) take(file);
  });
  return zone;
}

async function check(file, place, refresh) {
  const told = h("p", { role: "status" }, `Checking ${file.name} (${bytes(file.size)})…`);
  const faults = h("ol", { class: "faults" });
  const end = h("div", {});
  fill(place, h("div", { class: "card" }, h("h2", {}, file.name), told, faults, end));
  let found = 0;
  try {
    const response = await request("POST", "/v1/datasets/check", { body: file, headers: { "Content-Type": "application/octet-stream" } });
    for await (const line of lines(response)) {
      const { fault, summary } = JSON.parse(line);
      if (fault) {
        found += 1;
        if (found <= MOST_FAULTS_SHOWN) faults.append(faultItem(fault));
        told.textContent = `Faults so far: ${count(found)}`;
      }
      if (summary) concluded(file, summary, told, end, refresh);
    }
  } catch (error) {
    told.remove();
    showError(end, error);
  }
}

function faultItem({ line, field: name, reason }) {
  return h("li", {}, h("span", { class: "line" }, `line ${count(line)}`), " ", name ? h("code", {}, name) : null, " ", reason);
}

function concluded(file, summary, told, end, refresh) {
  const { format, row_count: rows, faulty_row_count: faulty, duplicate_row_count: duplicates, synthetic_row_count: synthetic, answer_count: answers } = summary;
  told.textContent = faulty ? `${faulty === 1 ? "One row has a fault" : `${count(faulty)} rows have faults`}. Mend them and choose the file again; until then nothing of it is kept.` : "Every row is good.";
  told.className = faulty ? "error" : "good";
  const keep = action("Keep this file", async () => {
    try {
      await upload(file, end);
      await refresh();
    } catch (error) {
      showError(end, error);
    }
  }, { class: "primary" });
  fill(end, h("div", { class: "stats" },
    stat("format", words(format)), stat("good rows", count(rows)), stat("with faults", count(faulty)), stat("duplicates", count(duplicates)),
    stat("answers", count(answers)), synthetic ? stat("synthetic", count(synthetic)) : null), faulty ? null : keep);
}

async function upload(file, place) {
  const form = new FormData();
  form.append("purpose", "fine-tune");
  form.append("file", file);
  const kept = await (await request("POST", "/v1/files", { body: form })).json();
  fill(place, h("p", { class: "good", role: "status" }, `Kept as ${kept.id}. `, h("a", { href: `#/train/${kept.id}` }, "Train with it"), " or ", h("a", { href: `#/data/${kept.id}` }, "see what a base makes of it"), "."));
}

function listed(place, files, refresh) {
  const rows = files.map((file) => [
    h("a", { href: `#/data/${file.id}` }, file.filename || file.id), words(file.tenon.format), count(file.tenon.statistics.row_count), bytes(file.bytes), when(file.created_at),
    h("div", { class: "actions" }, h("a", { class: "button", href: `#/train/${file.id}` }, "Train"), deleter(file.filename, "Jobs that used it stay.", `/v1/files/${encodeURIComponent(file.id)}`, refresh))]);
  fill(place, h("h2", {}, "Files"), rows.length ? table("Files", ["File", "Format", "Rows", "Size", "Added", ""], rows) : empty("No file is kept yet."));
}

async function looked(place, id, signal) {
  const path = encodeURIComponent(id);
  const [file, bases] = await Promise.all([get(`/v1/files/${path}`, { signal }), every("/v1/base_models")]);
  const shown = h("div", { class: "measured" });
  const base = select([["", "choose a base"], ...bases.map(({ id: name }) => [name, name])], { onchange: () => base.value && measure(shown, path, base.value, signal) });
  const { statistics } = file.tenon;
  fill(place, h("div", { class: "card" },
    h("div", { class: "row" }, h("h2", {}, file.filename), badge(words(file.tenon.format))),
    facts([
      ["File", h("code", {}, file.id)], ["Rows", count(statistics.row_count)], ["Duplicates", count(statistics.duplicate_row_count)],
      ["Synthetic", statistics.synthetic_row_count ? count(statistics.synthetic_row_count) : ""], ["SHA-256", h("code", { title: file.tenon.sha256 }, digest(file.tenon.sha256))]]),
    bases.length ? field("What a base makes of it", base) : empty("Add a base to see its rows as tokens: tenon base add DIRECTORY."), shown));
  if (bases.length === 1) {
    base.value = bases[0].id;
    await measure(shown, path, base.value, signal);
  }
}

async function measure(place, path, base, signal) {
  fill(place, h("p", { role: "status" }, `Reading the rows as ${base} would…`));
  const query = `base_model=${encodeURIComponent(base)}`;
  try {
    const [statistics, preview] = await Promise.all([
      get(`/v1/datasets/${path}/statistics?${query}`, { signal }), get(`/v1/datasets/${path}/preview?${query}`, { signal })]);
    fill(place, tokens(statistics.tokens), h("h3", {}, "As training sees it"), h("p", { class: "hint" }, "What is learnt is ", h("mark", {}, "marked"), "; the rest is only read."), preview.data.map(previewed));
  } catch (error) {
    showError(place, error);
  }
}

function tokens(measured) {
  return [
    h("div", { class: "stats" },
      stat("tokens", count(measured.token_count)), stat("of them learnt", percent(measured.supervised_share), count(measured.supervised_token_count)),
      stat(`cut to ${count(measured.max_sequence_length)}`, count(measured.truncated_row_count)), stat("without a label", count(measured.unlabelled_row_count)),
      measured.refused_row_count ? stat("refused by the template", count(measured.refused_row_count)) : null),
    measured.refusal ? h("p", { class: "error" }, measured.refusal) : null,
    measured.ends_answers ? null : h("p", { class: "error" }, "No answer ends with a token that ends generation: a model would learn to go on for ever."),
    measured.histogram.length ? [h("h3", {}, "Tokens of a row"), histogram("Rows by their tokens", measured.histogram)] : null,
    table("Percentiles", measured.percentiles.map(({ percent: share }) => `${share} %`), [measured.percentiles.map(({ tokens: most }) => count(most))])];
}

function previewed({ row, tokens: list, truncated, token_count: all, unlabelled_reason: reason }) {
  return h("article", { class: "sample" },
    h("p", { class: "by" }, `row ${count(row)}, ${count(all)} tokens${truncated ? ", cut" : ""}`),
    reason ? h("p", { class: "error" }, reason) : null,
    h("p", { class: "said tokens" }, runs(list).map(([learnt, text]) => (learnt ? h("mark", {}, text) : text))));
}

// Neighbours of one kind as one text: fewer elements, and letters that span tokens stay whole.
function runs(list) {
  const found = [];
  for (const { text, supervised } of list) {
    if (found.at(-1)?.[0] === supervised) found.at(-1)[1] += text;
    else found.push([supervised, text]);
  }
  return found;
}
