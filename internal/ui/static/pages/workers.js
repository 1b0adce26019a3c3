// Workers: what each runs, for how long, and whether its clock is right.

import { Facts, Table, el, later, pager, text } from "../dom.js";
import { count, dash, many, seconds, when } from "../format.js";
import { live, remember, remembered } from "../net.js";

export function show(main) {
  document.title = "Workers - weir";
  const filter = { q: "", page: 0, ...remembered() };
  const search = el("input", { type: "search", id: "q", placeholder: "host", value: filter.q });
  const facts = new Facts([["total", "workers"], ["slots", "slots"], ["running", "running"], ["stuck", "stuck"]]);
  const turn = pager((page) => change({ page }));
  const table = new Table({ caption: "Workers", key: (w) => w.worker, empty: "no workers: worker --redis URL starts one", columns });
  function change(changed) {
    Object.assign(filter, changed);
    remember(filter);
    again(filter);
  }
  search.addEventListener("input", later(() => change({ q: search.value.trim(), page: 0 })));
  main.replaceChildren(
    el("h1", { text: "Workers" }),
    el("p", { class: "sub", text: "As each told at its last heartbeat, every 5 s. A task is stuck when it runs on after its time is over." }),
    facts.node,
    el("div", { class: "row tools" }, el("label", { class: "field", for: "q" }, "Filter", search)),
    table.node, turn.node,
  );
  const again = live("workers", filter, (v) => {
    facts.set("total", count(v.total));
    facts.set("slots", count(v.slots));
    facts.set("running", count(v.running));
    facts.set("stuck", count(v.stuck), v.stuck ? "bad" : "");
    table.update(v.rows);
    turn.update(v, v.matching === v.total ? many(v.total, "worker") : `${count(v.matching)} of ${many(v.total, "worker")}`);
  });
}

const columns = [
  { title: "Worker", head: true, cls: "name", show: (cell, w) => text(cell, w.weir ? w.worker : w.worker + " (asynq)") },
  {
    title: "State",
    make: (cell, row) => cell.append((row.state = el("span"))),
    show(cell, w, row) {
      const state = w.stopping ? "stopping" : w.stuck ? "stuck" : w.clock_wrong ? "clock wrong" : "ok";
      text(row.state, state);
      row.state.className = "state " + (state === "clock wrong" ? "paused" : state === "stopping" ? "stopped" : state);
    },
  },
  { title: "Running", num: true, show: (cell, w) => text(cell, `${count(w.running)} of ${count(w.slots)}`) },
  {
    title: "Stuck", num: true,
    show(cell, w) {
      text(cell, count(w.stuck));
      cell.classList.toggle("bad", w.stuck > 0);
    },
  },
  {
    title: "Clock", num: true,
    show(cell, w) {
      const s = Math.round(w.clock_ahead_seconds);
      text(cell, Math.abs(s) <= 1 ? "right" : `${seconds(Math.abs(s))} ${s > 0 ? "ahead" : "behind"}`);
      cell.classList.toggle("bad", w.clock_wrong);
    },
  },
  { title: "Heard", num: true, show: (cell, w) => text(cell, `${seconds(w.heard_seconds_ago)} ago`) },
  { title: "Started", num: true, show: (cell, w) => text(cell, when(w.started_ms)) },
  {
    title: "Runs", cls: "wide",
    make(cell, row) {
      row.summary = el("summary");
      row.tasks = new Table({ caption: "Its tasks", key: (t) => t.id, empty: "nothing", columns: taskColumns });
      row.details = el("details", {}, row.summary, row.tasks.node);
      cell.append(row.details);
    },
    show(cell, w, row) {
      const longest = w.tasks[0];
      text(row.summary, longest ? `longest: ${longest.id}, ${seconds(longest.seconds)}` : "nothing");
      row.tasks.update(w.tasks);
    },
  },
];

const taskColumns = [
  {
    title: "Task", head: true, cls: "name",
    make: (cell, row) => cell.append((row.link = el("a"))),
    show(cell, t, row) {
      text(row.link, t.id);
      if (t.batch) row.link.href = `/batches/${encodeURIComponent(t.batch)}/tasks/${t.seq}`;
    },
  },
  { title: "Type", show: (cell, t) => text(cell, t.type) },
  { title: "Lane", show: (cell, t) => text(cell, t.lane) },
  {
    title: "For", num: true,
    show(cell, t) {
      text(cell, seconds(t.seconds) + (t.stuck ? ", stuck" : ""));
      cell.classList.toggle("bad", t.stuck);
    },
  },
  { title: "Of at most", num: true, show: (cell, t) => text(cell, t.timeout_seconds ? seconds(t.timeout_seconds) : dash) },
];
