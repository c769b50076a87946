// Leads the browser to the box's new address, and confirms the change there.
"use strict";
(() => {
  const PATIENCE_MS = 20000;
  const PAUSE_MS = 500;
  const pause = () => new Promise((done) => { setTimeout(done, PAUSE_MS); });

  // The page at the old address. The box answers there on; when it has taken the new address
  // this page hands its place over, so that going back leads to no form that was sent.
  async function lead(link) {
    document.getElementById("leading").hidden = false;
    document.getElementById("by-hand").hidden = true;
    const deadline = Date.now() + PATIENCE_MS;
    while (Date.now() < deadline) {
      try {
        const answer = await fetch("/api/status", { cache: "no-store" });
        const status = answer.ok ? await answer.json() : null;
        if (status && status.kernel.converged) break;
      } catch {
        // The old address may be gone; the new one is tried all the same.
      }
      await pause();
    }
    location.replace(link.href);
  }

  // The page at the new address: the token is behind the #, which no server and no other page
  // gets to see, and leaves the address line before it is used.
  async function confirm(token) {
    history.replaceState(null, "", location.pathname);
    const told = document.getElementById("confirming");
    const other = document.getElementById("not-confirmed");
    told.hidden = false;
    other.hidden = true;
    const deadline = Date.now() + PATIENCE_MS;
    while (Date.now() < deadline) {
      try {
        const answer = await fetch("/api/config/confirm", {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify({ token }),
        });
        // 409: nothing waits any more, as when a tab came twice.
        if (answer.ok || answer.status === 409) return location.replace("/");
        if (answer.status !== 503) break;
      } catch {
        // Not there yet.
      }
      await pause();
    }
    told.hidden = true;
    other.hidden = false;
  }

  const link = document.getElementById("lead");
  if (link) lead(link);
  const token = location.hash.slice(1);
  if (document.getElementById("moved") && token) confirm(token);
})();
