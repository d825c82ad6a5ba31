// Before anything is painted: the colours that were chosen here last time. The choice is all that is ever stored.
"use strict";
try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be refused; the system's own choice then holds.
}
