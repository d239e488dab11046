// Keys for the buttons that name one in data-key, with a switch for them; and no form is sent twice.
"use strict";
let sent = false;
const heard = () => localStorage.getItem("keys") !== "off";
const hold = (state) => {
  sent = state;
  for (const button of document.querySelectorAll("button")) button.disabled = state;
};
addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  if (event.target.closest?.("input, textarea, select") || !heard()) return;
  // By place for the row of digits: some layouts want shift for them.
  const key = event.code.startsWith("Digit") ? event.code.at(-1) : event.key.toLowerCase();
  document.querySelector(`[data-key="${CSS.escape(key)}"]`)?.click();
});
addEventListener("submit", (event) => {
  if (sent) return event.preventDefault();
  sent = true;
  // Later, as a disabled button would not be sent along.
  setTimeout(() => hold(true));
});
addEventListener("pageshow", () => hold(false));
// The second half of a double click may come when the next question stands there already.
addEventListener("click", (event) => {
  if (event.detail > 1 && event.target.closest("[data-key]")) event.preventDefault();
});
// Speech input and a slip of the hand press keys that nobody meant, so they can be switched off (WCAG 2.1.4).
const change = document.createElement("button");
const tell = () => {
  change.textContent = `Keys: ${heard() ? "on" : "off"}`;
  document.documentElement.classList.toggle("keyless", !heard());
};
change.type = "button";
change.className = "switch";
change.addEventListener("click", () => {
  localStorage.setItem("keys", heard() ? "off" : "on");
  tell();
});
tell();
if (document.querySelector("[data-key]")) document.querySelector("footer").lastElementChild.before(change);
