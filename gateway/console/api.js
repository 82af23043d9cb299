// Asking the gateway: JSON, lines and events, with its errors as they are.

/** An error as the gateway tells it; `message` is its sentence, with the remedy. */
export class ApiError extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.code = error.code;
    this.metadata = error.details?.metadata ?? {};
    this.violations = error.details?.violations ?? [];
  }
}

const listeners = { unauthenticated: () => {}, unavailable: () => {} };
let project = "";

/** Set what happens when a session is over (`unauthenticated`) and when a service is down (`unavailable`). */
export function onTrouble(handlers) {
  Object.assign(listeners, handlers);
}

/** Choose the project that requests are about; only a key for all projects needs to. */
export function useProject(id) {
  project = id;
}

/** Send a request; gives the response of one that succeeded, and raises ApiError otherwise. */
export async function request(method, path, { json, body, signal, headers = {} } = {}) {
  const sent = { ...headers };
  if (project) sent["Tenon-Project"] = project;
  if (json !== undefined) sent["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, signal, headers: sent, body: json === undefined ? body : JSON.stringify(json) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    listeners.unavailable();
    throw new ApiError(0, { message: "The gateway does not answer. This page goes on by itself when it is back.", code: "unreachable" });
  }
  if (response.ok) return response;
  throw await failure(response, path);
}

async function failure(response, path) {
  const answer = await response.json().catch(() => ({}));
  const error = answer.error ?? { message: `The gateway answered ${response.status}.`, code: "unknown" };
  if (response.status === 401 && path !== "/v1/session") listeners.unauthenticated();
  if (response.status === 503) listeners.unavailable();
  return new ApiError(response.status, error);
}

/** Read JSON. */
export async function get(path, options) {
  return (await request("GET", path, options)).json();
}

/** Send JSON, read JSON. */
export async function send(method, path, json, options = {}) {
  return (await request(method, path, { json, ...options })).json();
}

/** Every item of one of Tenon's own lists, up to `most`. */
export async function every(path, most = 1000) {
  const found = [];
  let token = "";
  do {
    const page = await get(`${path}?page_size=200&page_token=${encodeURIComponent(token)}`);
    found.push(...page.data);
    token = page.next_page_token;
  } while (token && found.length < most);
  return found;
}

/** The lines of an answer, as they come. */
export async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      yield* parts;
    }
    if (rest) yield rest;
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** The objects of a stream of server-sent events; an error on the way is raised. */
export async function* events(response) {
  for await (const line of lines(response)) {
    if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
    const data = JSON.parse(line.slice(6));
    if (data.error) throw new ApiError(response.status, data.error);
    yield data;
  }
}

/** Save a file that the gateway sends. */
export async function download(path, name) {
  const url = URL.createObjectURL(await (await request("GET", path)).blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
