// The page: a conversation with the model behind /v1/chat/completions.

import { keyGiven } from "./key.js";
import { Unusable, shown, sound } from "./media.js";
import { LONGEST, record } from "./recorder.js";
import { drawing, openStudio, take as takeToDraw } from "./studio.js";
import * as view from "./view.js";
import { Refused, answer, model } from "./wire.js";

const at = (id) => document.getElementById(id);
const [composer, question, send, stop, notice] = ["composer", "question", "send", "stop", "notice"].map(at);

let history = []; // answered turns that the model is told again: {content, answer}
let waiting = []; // media that go with the next question
let urls = []; // of everything shown, to be given back
let running = null; // AbortController of the answer on its way
let recording = null; // {recorder, timer}
let name = ""; // the model's

// -- asking ----------------------------------------------------------------------------------------

function submit() {
  const text = question.value.trim();
  if (running) return say("Wait for the answer, or stop it.");
  if (recording) return say("Stop the recording first.");
  if (!text && !waiting.length) return say("Write a question, or show something.");
  const parts = waiting.map((item) => item.part);
  const content = parts.length ? [...parts, ...(text ? [{ type: "text", text }] : [])] : text;
  view.question(text, waiting);
  put([]);
  question.value = "";
  refresh();
  if (!matchMedia("(pointer: coarse)").matches) question.focus(); // a touch keyboard would hide the answer
  return ask(content);
}

async function ask(content) {
  const control = new AbortController();
  const line = view.answer();
  const turn = { content, answer: "" };
  running = control;
  say("");
  refresh();
  try {
    await receive(turn, line, control.signal);
    line.end();
  } catch (error) {
    line.end();
    if (control.signal.aborted) line.note("Stopped.");
    else line.note(error instanceof Refused ? error.message : "Something went wrong on this page.", "error");
    if (!(error instanceof Refused) && !control.signal.aborted) console.error(error);
    if (!turn.answer) line.again(() => again(line, content));
  }
  if (running !== control) return; // a new conversation began meanwhile
  if (turn.answer) history.push(turn);
  running = null;
  refresh();
}

function again(line, content) {
  if (running) return say("Wait for the answer, or stop it.");
  line.remove();
  return ask(content);
}

/** Fill in the answer; ask for a key where one is wanted, and leave out the oldest turns where the context is full. */
async function receive(turn, line, signal) {
  for (;;) {
    try {
      if (!name) name = await named();
      for await (const { text, cut } of answer(name, told(turn), signal)) {
        if (text) {
          turn.answer += text;
          line.add(text);
        }
        if (cut) line.note("The answer was cut at its longest length.");
      }
      if (!turn.answer) line.note("The model had nothing to say.");
      return;
    } catch (error) {
      const full = error.code === "context_length_exceeded" || error.status === 413;
      if (error.status === 401 && (await keyGiven())) continue;
      if (!full || !history.length || turn.answer) throw error;
      history.shift();
      say("The oldest part of the conversation no longer fits and is left out.");
    }
  }
}

function told(turn) {
  const past = history.flatMap((old) => [
    { role: "user", content: old.content },
    { role: "assistant", content: old.answer },
  ]);
  return [...past, { role: "user", content: turn.content }];
}

async function named() {
  const found = await model();
  at("model").textContent = found.id;
  if (found.routes.includes("/v1/images/generations")) openStudio(found);
  return found.id;
}

function startAnew() {
  running?.abort();
  running = null;
  cancelRecording();
  history = [];
  put([]);
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls = [];
  view.clear();
  view.announce("A new conversation.");
  say("");
  refresh();
  question.focus();
}

// -- showing ---------------------------------------------------------------------------------------

async function take(files) {
  if (drawing()) return takeToDraw(files[0]);
  for (const file of files) {
    try {
      add(await shown(file));
      say("");
    } catch (error) {
      if (!(error instanceof Unusable)) throw error;
      say(error.message);
    }
  }
  question.focus();
  return undefined;
}

function add(item) {
  urls.push(item.url);
  put([...waiting, item]);
  view.announce(`${item.name} goes with your question.`);
}

/** What goes with the next question. */
function put(items) {
  waiting = items;
  view.tray(items, (gone) => {
    put(waiting.filter((item) => item !== gone));
    question.focus();
  });
}

// -- recording -------------------------------------------------------------------------------------

async function toggleRecording() {
  const button = at("record");
  if (recording) return finishRecording();
  if (button.disabled) return undefined;
  button.disabled = true; // while the browser asks for leave
  try {
    const recorder = await record();
    const start = performance.now();
    const timer = setInterval(() => tick((performance.now() - start) / 1000), 200);
    recording = { recorder, timer };
    tick(0);
    say("");
    view.announce("Recording.");
  } catch (error) {
    if (!(error instanceof Unusable)) throw error;
    say(error.message);
  } finally {
    button.disabled = false;
    refresh();
    button.focus();
  }
  return undefined;
}

function tick(seconds) {
  const whole = Math.floor(seconds);
  at("clock").textContent = `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  if (seconds >= LONGEST) finishRecording();
}

async function finishRecording() {
  const { recorder, timer } = recording;
  clearInterval(timer);
  recording = null;
  refresh();
  try {
    add(await sound(await recorder.stop(), "Recording"));
  } catch (error) {
    if (!(error instanceof Unusable)) throw error;
    say(error.message);
  }
  question.focus();
}

function cancelRecording() {
  if (!recording) return;
  clearInterval(recording.timer);
  recording.recorder.cancel();
  recording = null;
  view.announce("The recording was thrown away.");
  refresh();
}

// -- what the page says and shows of itself ----------------------------------------------------------

function say(text) {
  notice.textContent = text;
}

function refresh() {
  send.hidden = Boolean(running);
  stop.hidden = !running;
  const button = at("record");
  button.setAttribute("aria-pressed", String(Boolean(recording)));
  button.setAttribute("aria-label", recording ? "Stop recording" : "Record your voice");
  button.title = button.getAttribute("aria-label");
  at("clock").hidden = !recording;
  document.body.classList.toggle("empty", !at("conversation").childElementCount);
  grow();
}

/** The question's field is as high as its text, within the bounds of the style sheet. */
function grow() {
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight}px`;
}

function dark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function showTheme() {
  at("theme").setAttribute("aria-pressed", String(dark()));
}

at("theme").addEventListener("click", () => {
  const chosen = dark() ? "light" : "dark";
  document.documentElement.dataset.theme = chosen;
  try {
    localStorage.setItem("theme", chosen);
  } catch {
    // Storage may be refused: the choice then lasts as long as the page.
  }
  showTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);

// -- what people do --------------------------------------------------------------------------------

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
question.addEventListener("input", grow);
question.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
  if (recording) cancelRecording();
  else running?.abort();
});
stop.addEventListener("click", () => {
  running?.abort();
  question.focus();
});
at("new").addEventListener("click", startAnew);
at("choose").addEventListener("click", () => at("files").click());
at("files").addEventListener("change", (event) => {
  take([...event.target.files]);
  event.target.value = "";
});
at("record").addEventListener("click", toggleRecording);
document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (!files.length) return;
  event.preventDefault();
  take(files);
});

let depth = 0; // dragging over children enters and leaves many times
const dragging = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragenter", (event) => {
  if (dragging(event)) document.body.classList.toggle("dragging", (depth += 1) > 0);
});
document.addEventListener("dragleave", (event) => {
  if (dragging(event)) document.body.classList.toggle("dragging", (depth = Math.max(0, depth - 1)) > 0);
});
document.addEventListener("dragover", (event) => {
  if (dragging(event)) event.preventDefault();
});
document.addEventListener("drop", (event) => {
  if (!dragging(event)) return;
  event.preventDefault();
  depth = 0;
  document.body.classList.remove("dragging");
  take([...event.dataTransfer.files]);
});

// -- hello -----------------------------------------------------------------------------------------

async function greet() {
  for (;;) {
    try {
      name = await named();
      return;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.status === 401 && (await keyGiven())) continue;
      say(error.message);
      return;
    }
  }
}

showTheme();
refresh();
question.focus();
greet();
