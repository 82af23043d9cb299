// What a web frontend does with Tenon's own REST API, by a client generated from its OpenAPI document.
// node client.ts URL KEY prints what it found as JSON.
import { createClient } from "./tenon/client/index.ts";
import { client } from "./tenon/client.gen.ts";
import * as tenon from "./tenon/index.ts";

declare const process: { argv: string[] };

const [url = "", key = ""] = process.argv.slice(2);
client.setConfig({ baseUrl: url, auth: ({ scheme }) => (scheme === "bearer" ? key : undefined) });

class TenonError extends Error {
  readonly status: number | undefined;
  readonly error: tenon.ErrorObject;

  constructor(status: number | undefined, answer: tenon.ErrorAnswer) {
    super(answer.error.message);
    this.status = status;
    this.error = answer.error;
  }
}

type Answer<T> = { data?: T | undefined; error?: tenon.ErrorAnswer | undefined; response?: Response | undefined };

/** The data of an answer; throws what was refused. */
async function dataOf<T>(answered: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await answered;
  if (error !== undefined) throw new TenonError(response?.status, error);
  return data as T;
}

const ROWS = Array.from({ length: 12 }, (_, n) => JSON.stringify({ instruction: `Say ${n}`, output: `It is ${n}.` }));

function asFile(lines: string[]): File {
  return new File([lines.join("\n")], "rows.jsonl");
}

/** The faults of a file, and how many rows are good. */
async function check(lines: string[]): Promise<{ faults: tenon.RowFault[]; good: number }> {
  const checked = tenon.checkFile({ query: { format: "alpaca" }, body: asFile(lines), parseAs: "text" });
  // JSON lines: the type is that of each of them.
  const text = (await dataOf(checked)) as unknown as string;
  const faults: tenon.RowFault[] = [];
  let good = 0;
  for (const line of text.split("\n").filter(Boolean)) {
    const told = JSON.parse(line) as tenon.CheckLine;
    if ("fault" in told) faults.push(told.fault);
    else good = told.summary.row_count;
  }
  return { faults, good };
}

/** What a plan is refused or warned for. */
async function plan(training_file: string): Promise<string[]> {
  const planned = await dataOf(tenon.planJob({ body: { model: "tiny-qwen", training_file } }));
  return planned.findings.map(({ severity, code }) => `${severity} ${code}`);
}

/** The states of a job that has succeeded, as its watch tells them until it ends. */
async function watchedStates(): Promise<unknown[]> {
  const jobs = await dataOf(tenon.listJobs({ query: { limit: 100 } }));
  const training_job_id = jobs.data.find(({ status }) => status === "succeeded")?.id ?? "";
  const { stream } = await tenon.watchJob({ path: { training_job_id } });
  const states: unknown[] = [];
  for await (const update of stream) {
    if ("error" in update) throw new TenonError(undefined, update);
    if ("event" in update && update.event.type === "state") states.push(update.event.data["state"]);
  }
  return states;
}

/** Why loading an adapter on another base is refused. */
async function refusal(): Promise<{ status: number | undefined; code: string; told: string[] }> {
  const { error, response } = await tenon.loadModel({ path: { model: "parrot" }, body: { base_model: "tiny-gpt" } });
  if (error === undefined) throw new Error("the wrong base was taken");
  switch (error.error.code) {
    case "adapter_base_mismatch":
      return { status: response?.status, code: error.error.code, told: Object.keys(error.error.details.metadata) };
    // @ts-expect-error There is no such code.
    case "adapter_base_mismatched":
    default:
      throw new TenonError(response?.status, error);
  }
}

/** What must not compile; never called. */
export async function wrong(): Promise<void> {
  const path = { adapter_id: "parrot", alias_id: "stable" };
  // @ts-expect-error A field that does not exist, where every field may be left out.
  await tenon.moveAlias({ path, body: { verison: "0" } });
  // @ts-expect-error A field of the wrong type.
  await tenon.moveAlias({ path, body: { gated: "yes" } });
  // @ts-expect-error A missing part of the path.
  await tenon.getAdapter({ path: {} });
  const { data } = await tenon.listAdapters();
  // @ts-expect-error A field that no adapter has.
  console.log(data?.data[0]?.base);
}

async function main(): Promise<void> {
  const bases = await dataOf(tenon.listBaseModels({ query: { page_size: 10 } }));
  const file = await dataOf(tenon.uploadFile({ body: { purpose: "fine-tune", file: asFile(ROWS) } }));
  const adapters = await dataOf(tenon.listAdapters());
  const versions = await dataOf(tenon.listVersions({ path: { adapter_id: "parrot" } }));
  const version = versions.data[0]?.id ?? "";
  const path = { adapter_id: "parrot", alias_id: "from-typescript" };
  const alias = await dataOf(tenon.moveAlias({ path, body: { version } }));
  await dataOf(tenon.loadModel({ path: { model: "parrot" } }));
  const loaded = await dataOf(tenon.listLoadedModels());
  const stranger = createClient({ baseUrl: url });
  const unknown = await tenon.listAdapters({ client: stranger });
  const found = {
    bases: bases.data.map(({ id, fingerprint }) => `${id} ${fingerprint.architecture}`),
    file: { rows: file.tenon.statistics.row_count, format: file.tenon.format },
    check: await check([...ROWS, JSON.stringify({ instruction: "Say nothing" })]),
    plan: await plan(file.id),
    states: await watchedStates(),
    adapters: adapters.data.map(({ id, base_model, provenance }) => `${id} ${base_model} ${provenance}`),
    version,
    alias: alias.version === version,
    loaded: loaded.data.map(({ base_model, adapter_version }) => `${base_model} ${adapter_version}`),
    refusal: await refusal(),
    stranger: [unknown.response?.status, unknown.error?.error.code],
  };
  console.log(JSON.stringify(found));
}

await main();
