// What goes to the server and what comes back. The key lives in this module's memory and nowhere else.

let key = "";

/** Send this key from now on. */
export function useKey(value) {
  key = value;
}

/** The server, or the way to it, said no: `message` is for people, `status` and `code` are for this page. */
export class Refused extends Error {
  constructor(message, { status = 0, code = "" } = {}) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** The model that answers: its name as `id`, and the `routes` that may be asked. */
export async function model() {
  const { data } = await (await call("v1/models")).json();
  return data[0];
}

/** Pictures as {url, seed}, of `v1/images/PATH`: `body` is a form, or what goes as JSON. Raises as `answer` does. */
export async function drawn(path, body, signal) {
  const json = { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await call(`v1/images/${path}`, { method: "POST", signal, ...(body instanceof FormData ? { body } : json) });
  const { data } = await response.json();
  return data.map(({ b64_json: png, seed }) => ({ url: `data:image/png;base64,${png}`, seed }));
}

/**
 * The answer to OpenAI messages as it comes: {text}, and {cut: true} where it reached its longest length.
 * Raises Refused, or AbortError when `signal` stopped it.
 */
export async function* answer(model, messages, signal) {
  const response = await call("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ model, messages, stream: true, max_tokens: 512 }),
    signal,
  });
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = parsed(data);
    if (chunk.error) throw new Refused(sentence(chunk.error.message), { code: chunk.error.code });
    const choice = chunk.choices?.[0];
    if (choice?.delta?.content) yield { text: choice.delta.content };
    if (choice?.finish_reason === "length") yield { cut: true };
  }
  throw new Refused("The connection broke before the answer was whole.");
}

async function call(path, options = {}) {
  const headers = new Headers(options.headers);
  if (key) headers.set("Authorization", `Bearer ${key}`);
  let response;
  try {
    response = await fetch(path, { ...options, headers, credentials: "omit", cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server cannot be reached. Check that it is running.");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const { status } = response;
  let said = {};
  try {
    said = (await response.json()).error ?? {};
  } catch {
    // A proxy between us may answer in its own words; the status says enough.
  }
  const wait = Number(response.headers.get("Retry-After"));
  const when = wait > 0 ? `in ${wait} ${wait === 1 ? "second" : "seconds"}` : "in a moment";
  const words = {
    401: "The server asks for a key.",
    413: "That is more than the server takes at once. Send less, or smaller pictures.",
    429: `The server is busy. Try again ${when}.`,
    503: `The server is going down or starting. Try again ${when}.`,
  };
  const message = words[status] ?? sentence(said.message ?? `The server answered with status ${status}.`);
  return new Refused(message, { status, code: said.code ?? "" });
}

/** The data of server-sent events (WHATWG HTML, 9.2). */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r\n|\n/);
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
        if (line === "" && data.length) {
          yield data.join("\n");
          data = [];
        }
      }
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The connection broke before the answer was whole.");
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    throw new Refused("The server sent something that this page does not understand.");
  }
}

/** The server's line as a sentence: a capital in front, a full stop behind. */
function sentence(line) {
  const text = String(line ?? "Something went wrong.").trim();
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");
}
