// The dialog that asks for the server's key.

import { useKey } from "./wire.js";

const at = (id) => document.getElementById(id);

/** Ask for a key; whether one was given. */
export function keyGiven() {
  const [dialog, field, wrong] = ["ask-key", "key", "key-wrong"].map(at);
  wrong.textContent = field.dataset.tried ? "The server did not take that key. Check it, and try again." : "";
  field.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const key = field.value.trim();
      field.value = "";
      if (dialog.returnValue !== "use" || !key) return resolve(false);
      field.dataset.tried = "yes";
      useKey(key);
      return resolve(true);
    }, { once: true });
  });
}

at("key-cancel").addEventListener("click", () => at("ask-key").close());
at("ask-key").querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const plain = /^[\x21-\x7e]+$/.test(at("key").value.trim()); // what a header can hold
  at("key-wrong").textContent = plain ? "" : "A key has letters, digits and signs, and no spaces.";
  if (plain) at("ask-key").close("use");
});
