// Checks the configuration while it is written, and shows the preview without loading the page.
// Without this script the two buttons do the same by whole pages.
"use strict";
(() => {
  const form = document.getElementById("editor");
  if (!form || !window.AbortController) return;
  const text = document.getElementById("toml");
  const list = document.getElementById("problems");
  const plan = document.getElementById("plan");
  const QUIET_MS = 400;
  let waiting = 0;
  let asking = null;
  const saved = text.value;
  let leaving = false;

  function element(kind, content, name) {
    const made = document.createElement(kind);
    if (name) made.className = name;
    made.textContent = content;
    return made;
  }

  // Selects a line and brings it into view.
  function goTo(line) {
    const lines = text.value.split("\n");
    const start = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    text.focus();
    text.setSelectionRange(start, start + (lines[line - 1] || "").length);
    text.scrollTop = text.scrollHeight * (line - 1) / Math.max(lines.length, 1) - text.clientHeight / 3;
  }

  function item(problem) {
    const made = element("li", "", "alert bad");
    if (problem.line) {
      const button = element("button", `Line ${problem.line}`, "link");
      button.type = "button";
      button.addEventListener("click", () => goTo(problem.line));
      made.append(button, " ");
    }
    if (problem.path) made.append(element("span", problem.path, "code"), ": ");
    made.append(problem.reason);
    if (problem.hint) made.append("; ", element("span", problem.hint, "faint"));
    return made;
  }

  function show(problems) {
    const made = element("ul", "", "problems");
    made.append(...problems.map(item));
    list.replaceChildren(problems.length ? made : element("p", "Nothing is wrong with it.", "good"));
    text.setAttribute("aria-invalid", String(problems.length > 0));
  }

  async function check() {
    if (asking) asking.abort();
    asking = new AbortController();
    try {
      const answer = await fetch(form.dataset.validate, {
        method: "POST",
        headers: { "Content-Type": "application/json", Accept: "application/json" },
        body: JSON.stringify({ toml: text.value }),
        signal: asking.signal,
      });
      if (answer.status === 401) return location.reload();
      const said = await answer.json();
      show(answer.ok ? [] : said.errors || [{ reason: said.title }]);
    } catch (error) {
      if (error.name !== "AbortError") list.replaceChildren(element("p", "The box does not answer.", "warn"));
    }
  }

  text.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(check, QUIET_MS);
    plan.replaceChildren();
  });

  form.addEventListener("submit", async (event) => {
    const button = event.submitter;
    if (!button || button.value !== "plan") {
      leaving = true;
      return;
    }
    event.preventDefault();
    await check();
    const fields = new URLSearchParams(new FormData(form));
    fields.set("do", "plan");
    fields.set("part", "1");
    button.disabled = true;
    try {
      const answer = await fetch(form.action, { method: "POST", body: fields });
      if (answer.status === 422) plan.replaceChildren();
      else plan.innerHTML = await answer.text();
      if (answer.ok) plan.scrollIntoView({ block: "nearest" });
    } catch {
      list.replaceChildren(element("p", "The box does not answer.", "warn"));
    }
    button.disabled = false;
  });

  window.addEventListener("beforeunload", (event) => {
    if (!leaving && text.value !== saved) event.preventDefault();
  });
})();
