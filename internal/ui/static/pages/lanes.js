// All lanes: how many are in flight, how many may be, and why others wait.

import { Table, el, later, pager, text } from "../dom.js";
import { count, dash, many, ms, rate, seconds } from "../format.js";
import { live, remember, remembered } from "../net.js";
import { spark } from "../plot.js";

const states = [["", "all"], ["busy", "busy"], ["waiting", "waiting"], ["open", "open"], ["outage", "outage"], ["probing", "probing"], ["paused", "paused by the service"], ["held", "held by the operator"]];
const orders = [["", "name"], ["in_flight", "in flight"], ["pending", "pending"], ["oldest", "oldest task"]];

export function show(main) {
  document.title = "Lanes - weir";
  const filter = { q: "", state: "", sort: "", page: 0, ...remembered() };
  const search = el("input", { type: "search", id: "q", placeholder: "name", value: filter.q });
  const choice = (id, options) => {
    const s = el("select", { id }, ...options.map(([v, t]) => el("option", { value: v, text: t })));
    s.value = filter[id];
    s.addEventListener("change", () => change({ [id]: s.value, page: 0 }));
    return s;
  };
  const state = choice("state", states);
  const sort = choice("sort", orders);
  const turn = pager((page) => change({ page }));
  const table = new Table({ caption: "Lanes", key: (l) => l.lane, empty: "no lanes: nothing was enqueued yet", columns });

  function change(changed) {
    Object.assign(filter, changed);
    remember(filter);
    again(filter);
  }
  search.addEventListener("input", later(() => change({ q: search.value.trim(), page: 0 })));
  main.replaceChildren(
    el("h1", { text: "Lanes" }),
    el("div", { class: "row tools" }, el("label", { class: "field", for: "q" }, "Filter", search),
      el("label", { class: "field", for: "state" }, "State", state), el("label", { class: "field", for: "sort" }, "Order", sort)),
    table.node, turn.node,
  );
  const again = live("lanes", filter, (v) => {
    table.update(v.rows);
    turn.update(v, v.matching === v.total ? many(v.total, "lane") : `${count(v.matching)} of ${many(v.total, "lane")}`);
    for (const option of state.options) {
      const n = option.value ? v.counts[option.value] || 0 : v.total;
      text(option, `${states.find(([s]) => s === option.value)[1]} (${count(n)})`);
    }
  });
}

const columns = [
  {
    title: "Lane", head: true, cls: "name",
    make: (cell, row) => cell.append((row.link = el("a"))),
    show(cell, l, row) {
      text(row.link, l.lane);
      row.link.href = "/lanes/" + encodeURIComponent(l.lane);
    },
  },
  {
    title: "State",
    make: (cell, row) => cell.append((row.state = el("span"))),
    show(cell, l, row) {
      text(row.state, l.state);
      row.state.className = "state " + l.state;
    },
  },
  { title: "In flight", num: true, show: (cell, l) => text(cell, count(l.in_flight)) },
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
  { title: "Pending", num: true, show: (cell, l) => text(cell, count(l.pending)) },
  { title: "Later", num: true, show: (cell, l) => text(cell, count(l.later)) },
  { title: "Oldest", num: true, show: (cell, l) => text(cell, l.pending ? seconds(l.oldest_ms / 1000) : dash) },
  { title: "Weight", num: true, show: (cell, l) => text(cell, count(l.weight)) },
  { title: "Queues", num: true, show: (cell, l) => text(cell, count(l.queues)) },
  { title: "Waits for", cls: "wide", show: (cell, l) => text(cell, l.waits) },
];
