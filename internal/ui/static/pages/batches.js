// All batches: how far, how fast, when done, what failed.

import { bar, el, text } from "../dom.js";
import { count, dash, percent, rate, seconds, when } from "../format.js";
import { list, stateColumn } from "../list.js";
import { cancel, pause, possible, resume, retry } from "../actions.js";

const states = [["", "all"], ["running", "running"], ["paused", "paused"], ["stopped", "stopped"], ["failed", "with failures"], ["done", "done"], ["cancelled", "cancelled"], ["expired", "expired"]];

export const show = (main, what) => list(main, {
  view: "batches", title: "Batches", hint: "name or type", states, columns: columns(what), key: (b) => b.batch,
  empty: "no batches: producer run begins one", names: ["batch", "batches"],
});

function columns(what) {
  const all = [
    {
      title: "Batch", sort: ["name", "ascending"], head: true, cls: "name",
      make(cell, row) {
        row.link = el("a", {});
        row.type = el("span", { class: "muted" });
        cell.append(row.link, " ", row.type);
      },
      show(cell, b, row) {
        text(row.link, b.batch);
        row.link.href = "/batches/" + encodeURIComponent(b.batch);
        text(row.type, b.batch === b.type || b.batch.startsWith(b.type + "-") ? "" : b.type);
      },
    },
    { ...stateColumn((b) => b.state), sort: ["", "other"] }, // what is not over first, the newest of each first
    {
      title: "Progress",
      make(cell, row) {
        row.bar = bar();
        row.percent = el("span", { class: "percent nowrap" });
        cell.append(row.percent, row.bar.node);
      },
      show(cell, b, row) {
        const done = b.ok + b.failed + b.cancelled;
        text(row.percent, b.n >= 0 ? `${percent(done, b.n)} of ${count(b.n)}` : `${count(done)} of ${count(b.read)} read so far`);
        row.bar.update(b);
      },
    },
    { title: "Rate", sort: ["rate", "descending"], num: true, show: (cell, b) => text(cell, b.over ? dash : rate(b.rate)) },
    {
      title: "Done in", num: true,
      show(cell, b) {
        text(cell, b.over ? dash : seconds(b.eta_seconds));
        cell.title = b.eta_how;
      },
    },
    { title: "ok", num: true, show: (cell, b) => text(cell, count(b.ok)) },
    {
      title: "failed", sort: ["failed", "descending"], num: true,
      show(cell, b) {
        text(cell, count(b.failed));
        cell.classList.toggle("bad", b.failed > 0);
      },
    },
    { title: "cancelled", num: true, show: (cell, b) => text(cell, count(b.cancelled)) },
    { title: "waiting", sort: ["waiting", "descending"], num: true, show: (cell, b) => text(cell, count(b.waiting)) },
    {
      title: "Why they failed", cls: "wide",
      make(cell, row) {
        row.why = el("a", { class: "cut" });
        cell.append(row.why);
      },
      show(cell, b, row) {
        text(row.why, b.failures ? why(b.failures) : "");
        row.why.hidden = !b.failures;
        row.why.href = `/batches/${encodeURIComponent(b.batch)}#failures`;
      },
    },
    { title: "Created", sort: ["created", "descending"], num: true, show: (cell, b) => text(cell, when(b.created_ms)) },
  ];
  if (what.actions) {
    all.push({
      title: "Actions", cls: "nowrap",
      make(cell, row) {
        const button = (name, title, do_) => {
          const b = el("button", { class: "small", type: "button", text: title, onclick: () => do_() });
          cell.append(b, " ");
          return b;
        };
        row.buttons = {
          pause: button("pause", "Pause", () => pause(row.item.batch)),
          resume: button("resume", "Resume", () => resume(row.item.batch)),
          cancel: button("cancel", "Cancel\u2026", () => cancel(row.item.batch)),
          retry: button("retry", "Retry\u2026", () => retry(row.item.batch, count(row.item.failed))),
        };
      },
      show(cell, b, row) {
        const can = possible(b.state, b.over, b.failed, what);
        for (const [name, button] of Object.entries(row.buttons)) {
          button.hidden = !can[name];
          button.setAttribute("aria-label", `${button.textContent.replace("\u2026", "")} ${b.batch}`);
        }
      },
    });
  }
  return all;
}

// why tells the classes of failures, with a sample of the most frequent.
function why(f) {
  if (!f.classes.length) return f.total ? "reading" : "";
  const of = f.counted < f.total ? ` (of ${count(f.counted)} looked at)` : "";
  return f.classes.map((c) => `${c.class} ${count(c.count)}`).join(", ") + of + `, e.g. ${f.classes[0].seq}: ${f.classes[0].error}`;
}
