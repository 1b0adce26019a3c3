// One batch: its counts, its pace, its dead letters.

import { Facts, Table, bar, el, holdFocus, later, pager, text } from "../dom.js";
import { count, dash, many, ms, percent, rate, seconds, when } from "../format.js";
import { announce, changes, get, live, remember, remembered, trouble } from "../net.js";
import { cancel, pause, possible, resume, retry } from "../actions.js";
import { plot } from "../plot.js";

const counts = ["read", "ok", "failed", "cancelled", "pending", "scheduled", "retry", "active", "missing"];

export function show(main, what, name) {
  document.title = `${name} - weir`;
  const state = el("span");
  const sub = el("p", { class: "sub" });
  const facts = new Facts([["pace", "rate"], ["eta", "done in"], ...counts.map((c) => [c, c]), ["retries", "retries so far"], ["deadline", "deadline in"]]);
  const progress = bar(true);
  const share = el("span", { class: "percent" });
  const how = el("p", { class: "sub" });
  const buttons = {
    pause: el("button", { type: "button", text: "Pause", hidden: true, onclick: () => pause(name) }),
    resume: el("button", { type: "button", text: "Resume", hidden: true, onclick: () => resume(name) }),
    retry: el("button", { type: "button", text: "Retry all failures\u2026", hidden: true, onclick: () => again(count(last.failed)) }),
    cancel: el("button", { type: "button", class: "danger", text: "Cancel\u2026", hidden: true, onclick: () => cancel(name) }),
  };
  const plots = [
    plot("Outcomes a second", [{ key: "rate", name: "all", cls: "s1" }], rate),
    plot("Last attempt took", [{ key: "p50", name: "half within", cls: "s1" }, { key: "p95", name: "95% within", cls: "s2" }], ms),
  ];
  const seq = el("input", { class: "short", id: "seq", inputmode: "numeric", pattern: "[0-9]+", required: true, placeholder: "seq" });
  const find = el("form", { class: "row" }, el("label", { class: "field", for: "seq" }, "Story of task", seq), el("button", { text: "Show" }));
  find.addEventListener("submit", (e) => {
    e.preventDefault();
    location.href = `/batches/${encodeURIComponent(name)}/tasks/${encodeURIComponent(seq.value.trim())}`;
  });

  let last = { failed: 0 };
  async function again(n, cls = "", match = "") {
    const answer = await retry(name, n, cls, match);
    if (answer) letters.said(answer.batch);
  }
  const letters = deadLetters(name, what, again);

  main.replaceChildren(
    el("div", { class: "row apart" }, el("h1", {}, name, " ", state), el("div", { class: "row" }, ...(what.actions ? Object.values(buttons) : []))),
    sub, share, progress.node, facts.node, how,
    el("div", { class: "plots" }, ...plots.map((p) => p.node)),
    letters.node,
    el("h2", { text: "One task" }), find,
  );

  const heard = changes();
  live("batch", { name }, (v) => {
    last = v;
    heard(`${name} is ${v.shown}`);
    text(state, v.shown);
    state.className = "state " + v.shown;
    const retries = many(v.attempts, "attempt");
    text(sub, `${v.type}, lane ${v.lane || "of each task"}, priority ${v.priority}, ${retries} of ${ms(v.timeout_ms)} at most, created ${when(Date.parse(v.created))}, input: ${v.input}`);
    const done = v.ok + v.failed + v.cancelled;
    text(share, v.n !== null ? `${percent(done, v.n)} of ${count(v.n)}` : `${count(done)} of ${count(v.read)} read so far`);
    text(how, v.over || !v.eta_how ? "" : `Done in: ${v.eta_how}.`);
    progress.update(v);
    facts.set("pace", v.over ? dash : rate(v.rate_now));
    facts.set("eta", v.over ? dash : seconds(v.eta_seconds));
    for (const c of counts) facts.set(c, count(v[c]), (c === "failed" || c === "missing") && v[c] > 0 ? "bad" : "");
    facts.set("retries", count(v.retries));
    facts.only("deadline", v.deadline_seconds !== null, seconds(v.deadline_seconds));
    const can = possible(v.shown, v.over, v.failed, what);
    for (const [action, button] of Object.entries(buttons)) button.hidden = !can[action];
    for (const p of plots) p.update(v.series);
    letters.update(v);
  });
}

// deadLetters are the failures: by class, and a page of those of a filter.
function deadLetters(name, what, again) {
  const filter = { class: "", q: "", page: 0, ...remembered() };
  const path = `/api/batches/${encodeURIComponent(name)}/failures`;
  const counting = el("span", { class: "muted" });
  const newBatch = el("p", { hidden: true });
  const byClass = new Table({
    caption: "Failures by class", key: (c) => c.class, empty: "nothing failed",
    columns: [
      {
        title: "Class", head: true,
        make: (cell, row) => cell.append((row.pick = el("button", { type: "button", class: "small", onclick: () => change({ class: row.item.class, page: 0 }) }))),
        show(cell, c, row) {
          text(row.pick, c.class);
          row.pick.setAttribute("aria-label", `show those of class ${c.class}`);
        },
      },
      { title: "Tasks", num: true, show: (cell, c) => text(cell, count(c.count)) },
      {
        title: "For example", cls: "wide",
        make: (cell, row) => cell.append((row.seq = el("a")), " ", (row.error = el("span"))),
        show(cell, c, row) {
          text(row.seq, c.seq);
          row.seq.href = `/batches/${encodeURIComponent(name)}/tasks/${c.seq}`;
          text(row.error, c.error);
        },
      },
      {
        title: "Again", cls: "nowrap",
        make: (cell, row) => cell.append((row.retry = el("button", { type: "button", class: "small", text: "Retry these\u2026", onclick: () => again(count(row.item.count), row.item.class) }))),
        show(cell, c, row) {
          row.retry.hidden = !retryable;
          row.retry.setAttribute("aria-label", `Retry those of class ${c.class}`);
        },
      },
    ],
  });
  const cls = el("select", { id: "class" }, el("option", { value: "", text: "all" }), ...what.classes.map((c) => el("option", { value: c, text: c })));
  cls.value = filter.class;
  const search = el("input", { type: "search", id: "text", placeholder: "text in the error", value: filter.q });
  const matching = el("button", { type: "button", class: "small", text: "Retry these\u2026", hidden: true, onclick: () => again(count(shown.matching), filter.class, filter.q) });
  const turn = pager((page) => change({ page }));
  const table = new Table({
    caption: "Failed tasks", key: (o) => o.seq, empty: "no failures of this kind",
    columns: [
      {
        title: "Seq", head: true, num: true,
        make: (cell, row) => {
          cell.classList.add("num");
          cell.append((row.link = el("a")));
        },
        show(cell, o, row) {
          text(row.link, o.seq);
          row.link.href = `/batches/${encodeURIComponent(name)}/tasks/${o.seq}`;
        },
      },
      { title: "Class", show: (cell, o) => text(cell, o.class) },
      { title: "Error", cls: "wide", show: (cell, o) => text(cell, o.error || "") },
      { title: "Attempts", num: true, show: (cell, o) => text(cell, count(o.attempts)) },
      { title: "Last took", num: true, show: (cell, o) => text(cell, o.attempts ? ms(o.ms) : dash) },
      { title: "Worker", cls: "nowrap", show: (cell, o) => text(cell, o.worker || dash) },
      {
        title: "Payload", cls: "wide",
        make(cell, row) {
          row.payload = el("code", { class: "cut" });
          cell.append(row.payload);
        },
        show: (cell, o, row) => text(row.payload, o.payload === undefined ? "" : typeof o.payload === "string" ? o.payload : JSON.stringify(o.payload)),
      },
    ],
  });

  let shown = { matching: 0 };
  let retryable = false;
  let known = "";
  let asked = 0;
  let underWay = 0;
  let told = false; // who looks has asked for something: the next answer is announced
  async function load() {
    const ask = ++asked;
    underWay++;
    try {
      const v = await get(path, filter);
      if (ask !== asked) return; // there is a newer question
      shown = v;
      const back = holdFocus();
      table.update(v.rows);
      const filtered = filter.class || filter.q;
      turn.update(v, filtered ? `${count(v.matching)} of ${many(v.counted, "failure")}` : many(v.total, "failure"));
      matching.hidden = !(retryable && filtered && v.matching > 0);
      back();
      if (told) announce(turn.where());
      told = false;
    } catch (err) {
      trouble(err.message);
    } finally {
      underWay--;
    }
  }
  function change(changed) {
    Object.assign(filter, changed);
    cls.value = filter.class;
    remember(filter);
    told = true;
    load();
  }
  cls.addEventListener("change", () => change({ class: cls.value, page: 0 }));
  search.addEventListener("input", later(() => change({ q: search.value, page: 0 })));

  const list = el("div", {},
    el("div", { class: "row tools" }, el("label", { class: "field", for: "class" }, "Class", cls), el("label", { class: "field", for: "text" }, "Search", search), matching),
    table.node, turn.node);
  const nothing = el("p", { class: "muted", text: "Nothing failed." });
  const some = el("div", { hidden: true }, byClass.node, el("h2", { text: "Dead letters" }), list);
  const node = el("section", { id: "failures", "aria-label": "Failures" }, el("h2", {}, "Failures ", counting), newBatch, nothing, some);
  load();
  return {
    node,
    said(batch) {
      newBatch.hidden = false;
      newBatch.replaceChildren("They run again as ", el("a", { href: "/batches/" + encodeURIComponent(batch), text: batch }), ".");
    },
    update(v) {
      const f = v.failures;
      retryable = possible(v.shown, v.over, v.failed, what).retry;
      text(counting, f.counted < f.total ? `${count(f.counted)} of ${count(f.total)} counted` : "");
      byClass.update(f.classes);
      some.hidden = f.total === 0;
      nothing.hidden = f.total > 0;
      const now = `${f.counted} ${f.total} ${retryable}`;
      if (now !== known && !underWay) {
        known = now;
        load();
      }
    },
  };
}
