// Drives a running suite with OpenAI's package for Node: node client.js URL. Prints what it got as JSON.
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const OpenAI = require("openai");

const [url] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, maxRetries: 0 });
const messages = [{ role: "user", content: "hi" }];
const rows = Array.from({ length: 8 }, (_, n) => JSON.stringify({ instruction: `Say ${n}`, output: `It is ${n}.` }));

async function streamed(options) {
  let text = "";
  let usage = null;
  const stream = await client.chat.completions.create({
    ...options, stream: true, stream_options: { include_usage: true },
  });
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  return { text, usage };
}

async function upload() {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "tenon-"));
  const name = path.join(directory, "rows.jsonl");
  fs.writeFileSync(name, `${rows.join("\n")}\n`);
  try {
    return await client.files.create({ file: fs.createReadStream(name), purpose: "fine-tune" });
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

async function train(file) {
  const hopelessOnPurpose = { "tenon.force": "true" };
  const job = await client.fineTuning.jobs.create({
    model: "tiny-gpt", training_file: file.id, metadata: hopelessOnPurpose,
    method: { type: "supervised", supervised: { hyperparameters: { n_epochs: "auto" } } },
  });
  const cancelled = await client.fineTuning.jobs.cancel(job.id);
  const events = await client.fineTuning.jobs.listEvents(job.id);
  return { queued: job.status, cancelled: cancelled.status, events: events.data.map((event) => event.message) };
}

async function called() {
  const tools = [{
    type: "function",
    function: { name: "now", parameters: { type: "object", properties: {}, additionalProperties: false } },
  }];
  const answer = await client.chat.completions.create({
    model: "tools-hermes", messages, tools, tool_choice: "required", parallel_tool_calls: false, max_tokens: 200,
  });
  return answer.choices[0].message.tool_calls[0].function;
}

async function refusal(call) {
  try {
    await call();
    return null;
  } catch (error) {
    return { class: error.constructor.name, status: error.status, code: error.code, param: error.param };
  }
}

async function main() {
  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  const options = { model: "tiny-qwen", messages, max_tokens: 6, temperature: 0 };
  const whole = await client.chat.completions.create(options);
  const file = await upload();
  const content = await (await client.files.content(file.id)).text();
  const trained = await train(file);
  const deleted = await client.files.delete(file.id);
  return {
    models,
    text: whole.choices[0].message.content,
    usage: whole.usage,
    streamed: await streamed(options),
    file: { bytes: file.bytes, same: content === `${rows.join("\n")}\n`, deleted: deleted.deleted },
    trained,
    called: await called(),
    refusals: {
      unknown: await refusal(() => client.models.retrieve("nobody")),
      bad: await refusal(() => client.chat.completions.create({ ...options, temperature: 9 })),
      embeddings: await refusal(() => client.embeddings.create({ model: "tiny-qwen", input: "x" })),
    },
  };
}

main().then((result) => console.log(JSON.stringify(result)), (error) => {
  console.error(error);
  process.exitCode = 1;
});
