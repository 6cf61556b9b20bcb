"use strict";
// Loads the page anew while its run goes on, and keeps what a person looks at: report.js puts it back.
(() => {
  const schedule = JSON.parse(document.getElementById("schedule").textContent);
  const button = document.getElementById("follow");
  const paused = "jaxstyle paused";
  const silence = 600 + 10 * schedule.every; // seconds after which a run has ended without a word
  let touched = 0; // when a key, the pointer or a control was last used
  let pressed = false;

  const keep = (name, value) => {
    try {
      if (value === null) sessionStorage.removeItem(name); else sessionStorage.setItem(name, value);
    } catch {} // the browser keeps nothing for this page
  };
  const kept = (name) => {
    try {
      return sessionStorage.getItem(name);
    } catch {
      return null;
    }
  };

  function reload() {
    const at = document.activeElement;
    const { axis, kind, view } = at.dataset;
    const focus = at.id ? `#${at.id}`
      : axis ? `[data-axis="${axis}"]`
      : kind ? `[data-kind="${kind}"]`
      : view ? `[data-view="${view}"]` : "#none";
    const shown = document.querySelector('[data-view][aria-pressed="true"]')?.dataset.view ?? "result";
    keep("jaxstyle looked at", JSON.stringify({ page: location.pathname, view: shown, focus, x: scrollX, y: scrollY }));
    location.reload();
  }

  // A page is not taken away from under a hand.
  function tick() {
    const rest = document.activeElement.tagName === "SELECT" ? 10000 : 1000;
    if (button.getAttribute("aria-pressed") === "true" && !document.hidden && !pressed && Date.now() - touched > rest) {
      reload();
    } else {
      setTimeout(tick, 500);
    }
  }

  for (const type of ["pointerdown", "pointerup", "pointercancel", "keydown", "input"]) {
    addEventListener(type, () => {
      touched = Date.now();
      if (type.startsWith("pointer")) pressed = type === "pointerdown";
    }, true);
  }
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    button.textContent = on ? "Pause" : "Go on";
    keep(paused, on ? null : location.pathname);
  });
  if (Date.now() / 1000 - schedule.written > silence) {
    const time = new Date(schedule.written * 1000).toLocaleString();
    document.querySelector("#following span").textContent = `Nothing new has come since ${time}: the run may have ended.`;
    return;
  }
  button.hidden = false;
  if (kept(paused) === location.pathname) button.click();
  setTimeout(tick, schedule.every * 1000);
})();
