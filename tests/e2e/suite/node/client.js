// A client of another platform: registry and inference from the .proto files alone, with @grpc/grpc-js.
// node client.js PROTOS REGISTRY INFERENCE ADAPTER OTHER_BASE KEY; prints one JSON object.
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [protos, registryTarget, inferenceTarget, adapter, otherBase, key] = process.argv.slice(2);
const credentials = new grpc.Metadata();
credentials.set("authorization", `Bearer ${key}`);
const options = { includeDirs: [protos, path.join(protos, "third_party")], longs: Number, enums: String };

function load(file, target, pick) {
  const packages = grpc.loadPackageDefinition(loader.loadSync(file, options));
  return new (pick(packages.tenon))(target, grpc.credentials.createInsecure());
}

function call(client, method, request) {
  return new Promise((resolve, reject) => {
    const deadline = new Date(Date.now() + 60_000);
    client[method](request, credentials, { deadline }, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

function stream(client, method, request) {
  return new Promise((resolve, reject) => {
    const received = [];
    const answer = client[method](request, credentials, { deadline: new Date(Date.now() + 60_000) });
    answer.on("data", (message) => received.push(message));
    answer.on("error", reject);
    answer.on("end", () => resolve(received));
  });
}

async function main() {
  const bases = load("tenon/registry/v1/base_model.proto", registryTarget, (p) => p.registry.v1.BaseModelService);
  const adapters = load("tenon/registry/v1/adapter.proto", registryTarget, (p) => p.registry.v1.AdapterService);
  const inference = load("tenon/inference/v1/inference.proto", inferenceTarget, (p) => p.inference.v1.InferenceService);
  const request = {
    model: adapter,
    conversation: { messages: [{ role: "user", parts: [{ text: "Say 3" }] }] },
    sampling: { temperature: 0 },
    maxTokens: 8,
  };
  const listed = await call(bases, "ListBaseModels", {});
  const resolved = await call(adapters, "ResolveAdapter", { name: adapter });
  const whole = await call(inference, "Generate", request);
  const pieces = await stream(inference, "StreamGenerate", request);
  const refused = await call(inference, "Generate", { ...request, baseModel: otherBase }).catch((error) => error);
  console.log(
    JSON.stringify({
      bases: listed.baseModels.map((base) => base.name),
      version: resolved.adapterVersion.name,
      text: whole.text,
      streamed: pieces.map((piece) => piece.text).join(""),
      identity: whole.identity,
      refusedCode: refused.code,
      refusedDetails: refused.metadata?.get("grpc-status-details-bin").length,
      refusedMessage: refused.details,
    }),
  );
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
