// What `openapi-ts` makes of a suite's document: functions and types in tenon/, over fetch, with nothing to install beside them.
export default {
  input: "openapi.json",
  output: { path: "tenon", module: { extension: ".ts" } },
  plugins: ["@hey-api/client-fetch", "@hey-api/sdk", "@hey-api/typescript"],
};
