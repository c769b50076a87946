// Counts down while a change waits to be confirmed, and looks now and then whether one does.
"use strict";
(() => {
  const pending = document.getElementById("pending");
  if (!pending) return;
  const QUIET_MS = 15000;
  let until = 0;

  function begin() {
    const left = pending.querySelector("[data-seconds]");
    until = left ? Date.now() + Number(left.dataset.seconds) * 1000 : 0;
    show();
  }

  function revision() {
    const shown = pending.querySelector("[data-revision]");
    return shown ? shown.dataset.revision : "";
  }

  function show() {
    const left = pending.querySelector("[data-seconds]");
    if (!left) return;
    const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1000));
    left.textContent = `${seconds} s`;
    if (until && seconds === 0) {
      until = 0;
      setTimeout(look, 1500);
    }
  }

  async function look() {
    try {
      const answer = await fetch(pending.dataset.fragment, { cache: "no-store" });
      // Who presses a button now must not have it taken away.
      if (answer.ok && !pending.contains(document.activeElement)) {
        const before = revision();
        pending.innerHTML = await answer.text();
        begin();
        // A list of revisions says what became of this one.
        if (before !== revision() && document.querySelector(".revisions")) location.reload();
      }
    } catch {
      // The page says elsewhere that the box does not answer; this looks again.
    }
  }

  begin();
  setInterval(show, 1000);
  setInterval(() => { if (!document.hidden) look(); }, QUIET_MS);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  document.addEventListener("config-changed", look);
})();
