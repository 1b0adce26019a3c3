// All lanes: how many are in flight, how many may be, and why others wait.

import { el, text } from "../dom.js";
import { count, dash, ms, rate, seconds } from "../format.js";
import { list, stateColumn } from "../list.js";
import { spark } from "../plot.js";

const states = [["", "all"], ["busy", "busy"], ["waiting", "waiting"], ["open", "open"], ["outage", "outage"], ["probing", "probing"], ["paused", "paused by the service"], ["held", "held by the operator"]];

export const show = (main) => list(main, {
  view: "lanes", title: "Lanes", hint: "name", states, columns, key: (l) => l.lane,
  empty: "no lanes: nothing was enqueued yet", names: ["lane"],
});

const columns = [
  {
    title: "Lane", sort: ["", "ascending"], head: true, cls: "name",
    make: (cell, row) => cell.append((row.link = el("a"))),
    show(cell, l, row) {
      text(row.link, l.lane);
      row.link.href = "/lanes/" + encodeURIComponent(l.lane);
    },
  },
  stateColumn((l) => l.state),
  { title: "In flight", sort: ["in_flight", "descending"], num: true, show: (cell, l) => text(cell, count(l.in_flight)) },
  { title: "Limit", num: true, show: (cell, l) => text(cell, l.governed ? count(l.limit) : dash) },
  {
    title: "Of late",
    make(cell, row) {
      row.spark = spark();
      cell.append(row.spark.node);
    },
    show: (cell, l, row) => row.spark.update(l.flights, l.limits),
  },
  { title: "Ended", num: true, show: (cell, l) => text(cell, rate(l.ended_per_second)) },
  { title: "Rate limit", num: true, show: (cell, l) => text(cell, l.rate > 0 ? rate(l.rate) : dash) },
  { title: "Latency", num: true, show: (cell, l) => text(cell, ms(l.latency_ms)) },
  { title: "Pending", sort: ["pending", "descending"], num: true, show: (cell, l) => text(cell, count(l.pending)) },
  { title: "Later", num: true, show: (cell, l) => text(cell, count(l.later)) },
  { title: "Oldest", sort: ["oldest", "descending"], num: true, show: (cell, l) => text(cell, l.pending ? seconds(l.oldest_ms / 1000) : dash) },
  { title: "Weight", num: true, show: (cell, l) => text(cell, count(l.weight)) },
  { title: "Queues", num: true, show: (cell, l) => text(cell, count(l.queues)) },
  { title: "Waits for", cls: "wide", show: (cell, l) => text(cell, l.waits) },
];
