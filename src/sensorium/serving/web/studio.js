// The drawing tab: pictures from words, a picture changed where a mask lets it, variations, captions.

import { keyGiven } from "./key.js";
import { dataUrl } from "./media.js";
import { maskOn } from "./mask.js";
import { announce, element } from "./view.js";
import { Refused, answer, drawn } from "./wire.js";

const at = (id) => document.getElementById(id);
const AS_THEY_ARE = ["image/png", "image/jpeg"]; // of others, which may move, the first frame
const [form, prompt, gallery, note] = ["studio", "prompt", "gallery", "studio-note"].map(at);
const canvas = maskOn(at("canvas"), at("brush"));

let name = ""; // the model's
let source = null; // the File that is changed
let running = null; // AbortController of what is on its way

/** Let people draw with the model `id`, which answers `routes`. */
export function openStudio({ id, routes }) {
  name = id;
  const chats = routes.includes("/v1/chat/completions");
  at("modes").hidden = false;
  at("mode-chat").hidden = !chats;
  at("caption").dataset.offered = String(chats);
  at("mode-draw").click();
}

// -- asking ----------------------------------------------------------------------------------------

function draw() {
  const words = prompt.value.trim();
  if (!words) return say(source ? "Write what shall change." : "Write what to draw.", prompt);
  if (source) return edit(words);
  return run(`Drawing: ${words}`, (signal) => drawn("generations", { model: name, prompt: words, ...counted() }, signal));
}

async function edit(words) {
  const body = upload({ prompt: words, ...counted() });
  if (canvas.painted()) body.append("mask", await canvas.blob(), "mask.png");
  return run(`Changing: ${words}`, (signal) => drawn("edits", body, signal));
}

function vary() {
  return run("Variations", (signal) => drawn("variations", upload(counted()), signal));
}

function caption() {
  return run("", async (signal) => {
    const content = [{ type: "image_url", image_url: { url: await dataUrl(source) } }];
    let said = "";
    for await (const { text } of answer(name, [{ role: "user", content }], signal)) said += text ?? "";
    say(said ? `It shows: ${said}` : "The model had nothing to say.", null, false);
    return [];
  });
}

/** How many, and from which seed on; an empty seed is chosen by the server. */
function counted() {
  const seed = at("seed").value.trim();
  return { n: Number(at("count").value), ...(seed ? { seed: Number(seed) } : {}) };
}

function upload(fields) {
  const body = new FormData();
  for (const [key, value] of Object.entries({ model: name, ...fields })) body.append(key, String(value));
  body.append("image", source, "picture");
  return body;
}

async function run(title, work) {
  if (running) return;
  const control = new AbortController();
  running = control;
  refresh();
  say("", null);
  announce(title || "Reading the picture.");
  try {
    for (;;) {
      try {
        const found = await work(control.signal);
        if (found.length) show(title, found);
        break;
      } catch (error) {
        if (error.status === 401 && (await keyGiven())) continue;
        throw error;
      }
    }
  } catch (error) {
    if (control.signal.aborted) say("Stopped.", null, false);
    else say(error instanceof Refused ? error.message : "Something went wrong on this page.", null);
    if (!(error instanceof Refused) && !control.signal.aborted) console.error(error);
  }
  running = null;
  refresh();
}

// -- showing ---------------------------------------------------------------------------------------

function show(title, found) {
  const list = element("ul", "sheet");
  for (const { url, seed } of found) {
    const image = element("img");
    Object.assign(image, { src: url, alt: `${title}, seed ${seed}` });
    const save = element("a", "quiet", "Save");
    Object.assign(save, { href: url, download: `drawn-${seed}.png` });
    save.setAttribute("aria-label", `Save the picture of seed ${seed}`);
    const use = element("button", "quiet", "Change");
    use.type = "button";
    use.setAttribute("aria-label", `Change the picture of seed ${seed}`);
    use.addEventListener("click", async () => take(await asFile(url, seed)));
    list.append(element("li", "", image, element("p", "seed", `seed ${seed}`), element("div", "row", use, save)));
  }
  gallery.prepend(element("li", "batch", element("h3", "", title), list));
  while (gallery.childElementCount > 24) gallery.lastElementChild.remove(); // pictures are kept in memory
  announce(`${found.length} ${found.length === 1 ? "picture" : "pictures"} drawn.`);
}

/** A drawn picture as a file again, without asking anybody for it. */
function asFile(url, seed) {
  const bytes = Uint8Array.from(atob(url.split(",", 2)[1]), (c) => c.charCodeAt(0));
  return new File([bytes], `drawn-${seed}.png`, { type: "image/png" });
}

/** Start from a file; whether it could be opened. */
export async function take(file) {
  try {
    const bitmap = await createImageBitmap(file); // upright, as the server sees it
    canvas.show(bitmap);
    source = AS_THEY_ARE.includes(file.type) ? file : await stilled(bitmap);
    say("", null);
    announce(`${file.name} is what will be changed.`);
  } catch {
    say(`${file.name || "That"} cannot be opened as a picture.`, null);
  }
  refresh();
  prompt.focus();
}

function stilled(bitmap) {
  const still = document.createElement("canvas");
  Object.assign(still, { width: bitmap.width, height: bitmap.height });
  still.getContext("2d").drawImage(bitmap, 0, 0);
  return new Promise((give, refuse) => still.toBlob((blob) => (blob ? give(blob) : refuse(new Error())), "image/png"));
}

function leave() {
  source = null;
  refresh();
  prompt.focus();
}

function say(text, field, wrong = true) {
  note.textContent = text;
  note.classList.toggle("wrong", wrong);
  field?.focus();
}

function refresh() {
  at("easel").hidden = !source;
  at("vary").hidden = !source;
  at("caption").hidden = !source || at("caption").dataset.offered !== "true";
  at("draw-label").textContent = source ? "Change it" : "Draw it";
  at("prompt-label").textContent = source ? "What shall change" : "What shall it show";
  for (const id of ["draw", "vary", "caption"]) at(id).disabled = Boolean(running);
  at("halt").hidden = !running;
  form.setAttribute("aria-busy", String(Boolean(running)));
}

// -- what people do --------------------------------------------------------------------------------

function mode(drawing) {
  for (const [id, on] of [["mode-draw", drawing], ["mode-chat", !drawing]]) at(id).setAttribute("aria-pressed", String(on));
  document.body.classList.toggle("drawing", drawing);
  document.querySelector(".skip").href = drawing ? "#prompt" : "#question";
  (drawing ? prompt : at("question")).focus();
}

/** Whether the drawing tab is seen. */
export const drawing = () => document.body.classList.contains("drawing");

at("mode-draw").addEventListener("click", () => mode(true));
at("mode-chat").addEventListener("click", () => mode(false));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  draw();
});
prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  draw();
});
at("vary").addEventListener("click", vary);
at("caption").addEventListener("click", caption);
at("halt").addEventListener("click", () => running?.abort());
at("source").addEventListener("click", () => at("source-file").click());
at("source-file").addEventListener("change", (event) => {
  if (event.target.files.length) take(event.target.files[0]);
  event.target.value = "";
});
at("wipe").addEventListener("click", () => canvas.clear());
at("leave").addEventListener("click", leave);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && drawing() && !document.querySelector("dialog[open]")) running?.abort();
});
