// A list that is filtered, sorted and leafed through; the address has by what.

import { Table, el, later, pager, text } from "./dom.js";
import { count, many } from "./format.js";
import { announce, live, remember, remembered } from "./net.js";

// list shows a view that is one. states are [value, title] to filter by; names are those of
// one and of more; above comes before the table, and told hears what the view shows.
export function list(main, { view, title, hint, states, columns, key, empty, names, above = [], told = () => {} }) {
  document.title = `${title} - weir`;
  const filter = { q: "", state: "", sort: "", page: 0, ...remembered() };
  const search = el("input", { type: "search", id: "q", placeholder: hint, value: filter.q });
  search.addEventListener("input", later(() => change({ q: search.value.trim(), page: 0 })));
  const tools = el("div", { class: "row tools" }, el("label", { class: "field", for: "q" }, "Filter", search));
  const state = el("select", { id: "state", onchange: () => change({ state: state.value, page: 0 }) });
  if (states) {
    state.append(...states.map(([value, name]) => el("option", { value, text: name })));
    state.value = filter.state;
    tools.append(el("label", { class: "field", for: "state" }, "State", state));
  }
  const table = new Table({ caption: title, columns, key, empty, sort: (order) => change({ sort: order, page: 0 }) });
  table.sorted(filter.sort);
  const turn = pager((page) => change({ page }));
  main.replaceChildren(el("h1", { text: title }), ...above, tools, table.node, turn.node);

  let asked = false; // by who looks, who is told what was found
  function change(changed) {
    Object.assign(filter, changed);
    asked = true;
    remember(filter);
    table.sorted(filter.sort);
    again(filter);
  }
  const again = live(view, filter, (v) => {
    told(v);
    table.update(v.rows);
    turn.update(v, v.matching === v.total ? many(v.total, ...names) : `${count(v.matching)} of ${many(v.total, ...names)}`);
    for (const option of state.options) {
      const n = option.value ? v.counts[option.value] || 0 : v.total;
      text(option, `${states.find(([s]) => s === option.value)[1]} (${count(n)})`);
    }
    if (asked) announce(turn.where());
    asked = false;
  });
}

// stateColumn tells a state, in a word beside its colour.
export const stateColumn = (of, cls = (state) => state) => ({
  title: "State",
  make: (cell, row) => cell.append((row.state = el("span"))),
  show(cell, item, row) {
    const state = of(item);
    text(row.state, state);
    row.state.className = "state " + cls(state);
  },
});
