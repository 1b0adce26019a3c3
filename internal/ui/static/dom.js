// Elements, tables and forms. Everything from outside becomes text by textContent: there is
// no way here to make markup of it.

export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "text") node.textContent = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
}

// text sets a node's text, where it is another: what somebody has selected stays selected.
export function text(node, value) {
  value = String(value);
  if (node.textContent !== value) node.textContent = value;
}

export function attr(node, name, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value === true ? "" : value);
}

const reached = "a[href], button, input, select, summary, [tabindex='0']";
const usable = (node) => node.isConnected && !node.disabled && node.checkVisibility();

// holdFocus remembers what has the focus. What it returns gives it to the nearest that can
// have it, should that one be gone, hidden or disabled by then: news and closed dialogs leave
// nobody at the top of the page.
export function holdFocus() {
  const had = document.activeElement;
  const near = [];
  for (let node = had; node && node.id !== "main"; node = node.parentElement) {
    near.push(node);
    if (node.matches("tr")) near.push(node.nextElementSibling, node.previousElementSibling);
  }
  return () => {
    const now = document.activeElement;
    if (had === document.body || (now !== had && now !== document.body) || (now === had && usable(had))) return;
    for (const node of near) {
      const next = node?.isConnected && [node, ...node.querySelectorAll(reached)].find((n) => n.matches(reached) && usable(n));
      if (next) return next.focus({ preventScroll: true });
    }
    document.getElementById("main").focus({ preventScroll: true });
  };
}

// place puts nodes in a row, in front of end; those that are in their place are not touched.
function place(parent, nodes, end) {
  for (const node of nodes.toReversed()) {
    if (node.parentNode !== parent || node.nextSibling !== end) parent.insertBefore(node, end);
    end = node;
  }
}

// renew makes nodes the children of parent. Where one is there as it is to be, it stays.
export function renew(parent, ...nodes) {
  const old = [...parent.children];
  nodes.forEach((node, i) => {
    if (!old[i]) parent.append(node);
    else if (old[i].outerHTML !== node.outerHTML) old[i].replaceWith(node);
  });
  old.slice(nodes.length).forEach((node) => node.remove());
}

// Table keeps a row element for each key, so that focus and selection outlive news. What can
// be sorted by a column calls sort with its order.
// columns: {title, num, head, cls, sort: [order, direction], make(cell, row), show(cell, item, row)}
export class Table {
  constructor({ caption, columns, key, empty, sort }) {
    this.columns = columns;
    this.key = key;
    this.rows = new Map();
    this.body = el("tbody");
    this.none = el("p", { class: "none", text: empty || "nothing here", hidden: true });
    const heads = columns.map((c) => {
      const by = c.sort && el("button", { class: "sort", type: "button", text: c.title, onclick: () => sort(c.sort[0]) });
      return el("th", { scope: "col", class: c.num ? "num" : c.cls, text: by ? null : c.title }, by);
    });
    this.sorted = (order) => columns.forEach((c, i) => c.sort && attr(heads[i], "aria-sort", c.sort[0] === order ? c.sort[1] : null));
    const table = el("table", {}, el("caption", { text: caption }), el("thead", {}, el("tr", {}, ...heads)), this.body);
    this.node = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table, this.none);
  }

  update(items) {
    const rows = new Map();
    for (const item of items) {
      const key = String(this.key(item));
      const row = this.rows.get(key) || this.add(item);
      row.item = item;
      this.columns.forEach((c, i) => c.show(row.cells[i], item, row));
      rows.set(key, row);
    }
    for (const [key, row] of this.rows) if (!rows.has(key)) row.node.remove();
    this.rows = rows;
    const nodes = [...rows.values()].map((row) => row.node);
    const held = nodes.findIndex((node) => node.contains(document.activeElement)); // would lose the focus if it was moved
    place(this.body, nodes.slice(held + 1), null);
    if (held >= 0) place(this.body, nodes.slice(0, held), nodes[held]);
    this.none.hidden = items.length > 0;
  }

  add(item) {
    const row = { item, cells: [] };
    row.node = el("tr");
    for (const c of this.columns) {
      const cell = el(c.head ? "th" : "td", { scope: c.head ? "row" : undefined, class: c.num ? "num" : c.cls });
      if (c.make) c.make(cell, row);
      row.cells.push(cell);
      row.node.append(cell);
    }
    return row;
  }
}

// Facts is a list of names and values.
export class Facts {
  constructor(names) {
    this.values = new Map();
    this.node = el("dl", { class: "facts" });
    for (const [name, title, cls] of names) {
      const dd = el("dd", { class: cls });
      this.values.set(name, dd);
      this.node.append(el("div", {}, el("dt", { text: title }), dd));
    }
  }
  set(name, value, cls = "") {
    const dd = this.values.get(name);
    text(dd, value);
    dd.classList.remove("bad", "warn");
    if (cls) dd.classList.add(cls);
  }
  // only shows a value where there is one.
  only(name, is, value) {
    this.values.get(name).parentNode.hidden = !is;
    this.set(name, value);
  }
}

// bar shows how much of a batch has which outcome; the figures are beside it.
export function bar(big) {
  const parts = { ok: el("i", { class: "ok" }), failed: el("i", { class: "failed" }), cancelled: el("i", { class: "cancelled" }) };
  const node = el("div", { class: big ? "bar big" : "bar", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, hidden: true }, ...Object.values(parts));
  return {
    node,
    update(item) {
      node.hidden = false;
      const known = item.n !== null && item.n >= 0;
      const all = known ? item.n || 1 : Math.max(item.read, 1);
      for (const name of Object.keys(parts)) parts[name].style.width = (100 * item[name]) / all + "%";
      attr(node, "aria-label", `Progress of ${item.batch}`);
      attr(node, "aria-valuenow", !known ? null : item.n === 0 ? 100 : Math.floor((100 * (item.ok + item.failed + item.cancelled)) / item.n));
      attr(node, "aria-valuetext", known ? null : "not known: it is still being read");
    },
  };
}

// pager tells which page is shown, and turns it.
export function pager(turn) {
  const back = el("button", { class: "small", type: "button", text: "Previous", onclick: () => turn(page - 1) });
  const on = el("button", { class: "small", type: "button", text: "Next", onclick: () => turn(page + 1) });
  const where = el("span");
  const node = el("nav", { class: "pager", "aria-label": "Pages of the list" }, back, where, on);
  let page = 0;
  return {
    node,
    where: () => where.textContent,
    update(v, what) {
      page = v.page;
      text(where, v.pages > 1 ? `page ${v.page + 1} of ${v.pages}, ${what}` : what);
      back.disabled = v.page === 0;
      on.disabled = v.page >= v.pages - 1;
      back.hidden = on.hidden = v.pages <= 1;
    },
  };
}

// ask wants a yes for what cannot be undone.
export function ask(title, what, yes) {
  const dialog = document.getElementById("ask");
  document.getElementById("ask-title").textContent = title;
  document.getElementById("ask-text").textContent = what;
  document.getElementById("ask-yes").textContent = yes;
  dialog.returnValue = "no";
  const back = holdFocus();
  dialog.showModal();
  document.getElementById("ask-no").focus();
  return new Promise((done) => {
    dialog.addEventListener("close", () => {
      back();
      done(dialog.returnValue === "yes");
    }, { once: true });
  });
}

// later calls f when nothing more was typed for a moment.
export function later(f) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(f, 250);
  };
}
