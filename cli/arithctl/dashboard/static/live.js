// Fetches the parts of a page that change, again and again, and puts them in place of the old ones.
"use strict";
const EVERY_MS = 2000;
const fresh = document.getElementById("fresh");
const status = document.getElementById("connection");

function say(text) {
  if (status.textContent !== text) status.textContent = text;
}

function units(part) {
  return part.querySelector("[data-units]")?.dataset.units;
}

function replace(part, html) {
  if (part.dataset.last === html) return;
  part.dataset.last = html;
  const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
  const marked = [...part.querySelectorAll("input:checked")].map((box) => box.id);
  part.innerHTML = html;
  for (const id of marked) {
    const box = document.getElementById(id);
    if (box) box.checked = true;
  }
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

async function refresh(part) {
  if (document.hidden) return true;
  const answer = await fetch(part.dataset.live, { credentials: "same-origin" });
  if (answer.status === 401) {
    location.reload();
    return false;
  }
  if (!answer.ok) throw new Error(answer.statusText);
  const before = units(part);
  replace(part, await answer.text());
  if (part.querySelector('[data-over="yes"]')) {
    location.reload(); // now there are results to show
    return false;
  }
  // The report below it would lose what was chosen in it, so whoever reads it decides when.
  if (fresh && units(part) !== before) fresh.hidden = false;
  return true;
}

async function follow(part) {
  let again = true;
  while (again) {
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    try {
      again = await refresh(part);
      say("");
    } catch {
      say("The server does not answer; trying again.");
    }
  }
}

for (const part of document.querySelectorAll("[data-live]:not([data-done])")) follow(part);
