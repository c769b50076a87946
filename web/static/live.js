// Keeps the status page true: looks again when the box says that something happened, and every
// few seconds for what changes quietly. Without this script a reload does the same.
"use strict";
(() => {
  const live = document.getElementById("live");
  const lost = document.getElementById("lost");
  if (!live || !window.EventSource) return;
  const QUIET_MS = 15000;
  const GATHER_MS = 250;
  let waiting = 0;
  let shown = "";

  async function look() {
    waiting = 0;
    try {
      const answer = await fetch(live.dataset.fragment, { cache: "no-store" });
      if (answer.status === 401) return location.reload();
      if (!answer.ok) throw new Error(answer.status);
      const html = await answer.text();
      lost.hidden = true;
      if (html !== shown) {
        shown = html;
        live.innerHTML = html;
      }
    } catch {
      lost.hidden = false;
    }
  }

  function soon() {
    if (!waiting) waiting = setTimeout(look, GATHER_MS);
  }

  const events = new EventSource(live.dataset.events);
  for (const kind of ["bus", "clock", "config", "kernel", "lease", "link", "notice", "services", "storage", "wan", "reset"]) {
    events.addEventListener(kind, soon);
  }
  events.addEventListener("config", () => document.dispatchEvent(new Event("config-changed")));
  setInterval(() => { if (!document.hidden) soon(); }, QUIET_MS);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(); });
})();
