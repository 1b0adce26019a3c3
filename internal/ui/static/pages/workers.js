// Workers: what each runs, for how long, and whether its clock is right.

import { Facts, Table, el, text } from "../dom.js";
import { count, dash, many, seconds, when } from "../format.js";
import { list, stateColumn } from "../list.js";
import { changes } from "../net.js";

export function show(main) {
  const facts = new Facts([["total", "workers"], ["slots", "slots"], ["running", "running"], ["stuck", "stuck"]]);
  const heard = changes();
  list(main, {
    view: "workers", title: "Workers", hint: "host", columns, key: (w) => w.worker,
    empty: "no workers: worker --redis URL starts one", names: ["worker"],
    above: [el("p", { class: "sub", text: "As each told at its last heartbeat, every 5 s. A task is stuck when it runs on after its time is over." }), facts.node],
    told(v) {
      facts.set("total", count(v.total));
      facts.set("slots", count(v.slots));
      facts.set("running", count(v.running));
      facts.set("stuck", count(v.stuck), v.stuck ? "bad" : "");
      heard(`${many(v.stuck, "task")} stuck`);
    },
  });
}

const stateOf = (w) => (w.stopping ? "stopping" : w.stuck ? "stuck" : w.clock_wrong ? "clock wrong" : "ok");

const columns = [
  { title: "Worker", head: true, cls: "name", show: (cell, w) => text(cell, w.weir ? w.worker : w.worker + " (asynq)") },
  stateColumn(stateOf, (state) => ({ "clock wrong": "paused", stopping: "stopped" })[state] || state),
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
