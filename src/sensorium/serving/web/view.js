// What a conversation looks like. Text is only ever set as text: nothing that a model or a file's name says is markup.

const list = document.getElementById("conversation");
const scroll = document.getElementById("scroll");
const announcer = document.getElementById("announcer");

/** An element with classes and children; strings become text. */
export function element(name, classes = "", ...children) {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  made.append(...children);
  return made;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

function button(classes, label, act, ...children) {
  const made = element("button", classes, ...children);
  made.type = "button";
  if (label) made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

/** A picture as a thumbnail that opens large, or a sound with its player. */
export function medium({ kind, name, url }) {
  if (kind === "sound") {
    const player = element("audio");
    Object.assign(player, { controls: true, src: url, preload: "metadata" });
    player.setAttribute("aria-label", name);
    return element("figure", "sound", player);
  }
  const image = element("img");
  Object.assign(image, { src: url, alt: name });
  return element("figure", "picture", button("thumbnail", `Enlarge ${name}`, () => enlarge(url, name), image));
}

function enlarge(url, name) {
  const viewer = document.getElementById("viewer");
  const image = viewer.querySelector("img");
  Object.assign(image, { src: url, alt: name });
  viewer.showModal();
}

const rows = new Map(); // of the tray: what stays is left in peace, so that a sound plays on

/** What goes with the next question; `remove` is called with the item to be taken out. */
export function tray(items, remove) {
  for (const item of items) {
    const take = () => button("remove", `Remove ${item.name}`, () => remove(item), icon("close"));
    if (!rows.has(item)) rows.set(item, element("li", "", medium(item), take()));
  }
  for (const [item, row] of rows) {
    if (items.includes(item)) continue;
    row.remove();
    rows.delete(item);
  }
  document.getElementById("tray").append(...[...rows.values()].filter((row) => !row.isConnected));
}

/** A question that was sent. */
export function question(text, media) {
  const row = element("li", "question", element("span", "unseen", "You: "));
  if (media.length) row.append(element("div", "media", ...media.map(medium)));
  if (text) row.append(element("p", "bubble", text));
  list.append(row);
  follow(true);
}

/** An answer on its way: `add` text, `note` what happened to it, `end` it; `again` puts a button there. */
export function answer() {
  const words = document.createTextNode("");
  const body = element("p", "words", words);
  const tools = element("div", "actions");
  const row = element("li", "answer waiting", element("span", "unseen", "Answer: "), body, tools);
  row.setAttribute("aria-busy", "true");
  list.append(row);
  follow(true);
  let told = 0; // characters that were read out
  return {
    add(text) {
      const near = isNear();
      row.classList.remove("waiting");
      words.appendData(text);
      const whole = words.data.slice(told).match(/^[\s\S]*[.!?…\n](?=\s)/);
      if (whole) {
        announce(whole[0]);
        told += whole[0].length;
      }
      follow(near);
    },
    note(text, kind = "") {
      tools.before(element("p", `remark ${kind}`, text));
      announce(text);
      follow(true);
    },
    end() {
      row.classList.remove("waiting");
      row.setAttribute("aria-busy", "false");
      if (words.data.length > told) announce(words.data.slice(told));
      if (words.data) tools.append(copyButton(() => words.data));
      follow(isNear());
    },
    again(act) {
      tools.append(button("quiet", "", act, icon("again"), element("span", "", "Try again")));
      follow(true);
    },
    remove: () => row.remove(),
  };
}

function copyButton(text) {
  const label = element("span", "", "Copy");
  const made = button("quiet", "", async () => {
    label.textContent = (await copied(text())) ? "Copied" : "Select it to copy";
    announce(label.textContent);
    setTimeout(() => (label.textContent = "Copy"), 2000);
  }, icon("copy"), label);
  return made;
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // not over https, or not allowed
  }
}

/** Have a screen reader say this when it has time. */
export function announce(text) {
  announcer.append(element("p", "", text));
  while (announcer.childElementCount > 40) announcer.firstElementChild.remove();
}

/** An empty conversation. */
export function clear() {
  list.replaceChildren();
  announcer.replaceChildren();
}

function isNear() {
  return scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 96;
}

function follow(wanted) {
  document.body.classList.toggle("empty", !list.childElementCount);
  if (wanted) scroll.scrollTop = scroll.scrollHeight;
}
