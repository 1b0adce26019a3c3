// One task's story, as far as Redis still knows it.

import { el, holdFocus, renew, text } from "../dom.js";
import { clock, many, ms, when } from "../format.js";
import { changes, get, trouble } from "../net.js";

export function show(main, what, name, seq) {
  document.title = `${name} ${seq} - weir`;
  const state = el("span");
  const story = el("ol", { class: "story" });
  const rest = el("div");
  main.replaceChildren(
    el("h1", {}, el("a", { href: "/batches/" + encodeURIComponent(name), text: name }), ` task ${seq} `, state),
    story, rest,
  );
  const heard = changes();
  async function load() {
    let wait = 2000;
    try {
      const s = await get(`/api/batches/${encodeURIComponent(name)}/tasks/${seq}`);
      trouble("");
      const back = holdFocus();
      tell(s);
      back();
      text(document.getElementById("news"), `as of ${clock(Date.now())}`);
      document.getElementById("news").classList.remove("late");
      if (s.place === "ended") return;
    } catch (err) {
      trouble(err.message);
      if (err.missing) return;
      wait = 5000;
    }
    setTimeout(load, wait);
  }
  function tell(s) {
    const word = s.outcome ? s.outcome.state : s.place;
    text(state, word);
    state.className = "state " + word;
    heard(`task ${seq} is ${word}`);
    renew(story, ...steps(s));
    renew(rest, ...texts(s));
  }
  load();
}

function steps(s) {
  const all = [];
  const step = (title, ...more) => all.push(el("li", {}, el("b", { text: title }), " ", ...more));
  if (s.enqueued_ms) step("Enqueued", `${when(s.enqueued_ms)}, into lane `, el("a", { href: "/lanes/" + encodeURIComponent(s.lane), text: s.lane }));
  else if (s.lane) step("Enqueued", "into lane ", el("a", { href: "/lanes/" + encodeURIComponent(s.lane), text: s.lane }));
  if (s.wait_ms >= 0) step("First started", `${ms(s.wait_ms)} after it was enqueued`);
  for (const t of s.attempts || []) {
    step(`Attempt ${t.attempt} failed`, `${when(t.at_ms)}${t.class === "exhausted" ? "" : ", " + t.class}, after ${ms(t.ms)} on ${t.worker}`, el("p", { class: "bad", text: t.error }));
  }
  if (s.tries > (s.attempts || []).length) {
    step(many(s.tries, "attempt") + " ended",
      `without an outcome${s.failed_ms ? ", the last " + when(s.failed_ms) : ""}${s.error ? ": " : ""}`, el("span", { class: "bad", text: s.error || "" }));
  }
  if (s.place === "ended") {
    const o = s.outcome;
    if (!o) {
      step("Outcome", "recorded, and handed on to whoever reads the batch: its line is not in Redis any more, or lies further back than is searched.");
      return all;
    }
    const title = o.state === "failed" ? `Failed, class ${o.class}` : o.state;
    const by = o.attempts ? ` after ${many(o.attempts, "attempt")}; the last took ${ms(o.ms)}${o.worker ? " on " + o.worker : ""}` : o.worker ? ` by ${o.worker}` : "";
    step(title, (s.recorded_ms ? when(s.recorded_ms) : "") + by);
    if (o.error) all.at(-1).append(el("p", { class: "bad", text: o.error }));
    if (s.do) all.at(-1).append(el("p", { text: s.do }));
    return all;
  }
  step("Now", s.why, ...(s.do ? [el("p", { text: s.do })] : []));
  return all;
}

function texts(s) {
  const all = [];
  const add = (title, value) => {
    if (value === undefined || value === null) return;
    all.push(el("h2", { text: title }), el("pre", { tabindex: "0", role: "region", "aria-label": title, text: typeof value === "string" ? value : JSON.stringify(value, null, 2) }));
  };
  add("Payload", s.payload);
  add("Result", s.outcome?.result);
  return all;
}
