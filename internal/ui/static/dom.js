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

// Table keeps a row element for each key, so that focus and selection outlive news.
// columns: {title, num, head, cls, make(cell, row), show(cell, item, row)}
export class Table {
  constructor({ caption, columns, key, empty }) {
    this.columns = columns;
    this.key = key;
    this.rows = new Map();
    this.body = el("tbody");
    this.none = el("p", { class: "none", text: empty || "nothing here", hidden: true });
    const heads = columns.map((c) => el("th", { scope: "col", class: c.num ? "num" : c.cls, text: c.title }));
    const table = el("table", {}, el("caption", { text: caption }), el("thead", {}, el("tr", {}, ...heads)), this.body);
    this.node = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table, this.none);
  }

  update(items) {
    const seen = new Set();
    let at = null;
    for (const item of items) {
      const key = String(this.key(item));
      seen.add(key);
      let row = this.rows.get(key);
      if (!row) {
        row = this.add(item);
        this.rows.set(key, row);
      }
      row.item = item;
      this.columns.forEach((c, i) => c.show(row.cells[i], item, row));
      const next = at ? at.nextSibling : this.body.firstChild;
      if (next !== row.node) this.body.insertBefore(row.node, next);
      at = row.node;
    }
    for (const [key, row] of this.rows) {
      if (!seen.has(key)) {
        row.node.remove();
        this.rows.delete(key);
      }
    }
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

// bar shows how much of a batch has which outcome.
export function bar(big) {
  const parts = { ok: el("i", { class: "ok" }), failed: el("i", { class: "failed" }), cancelled: el("i", { class: "cancelled" }) };
  const node = el("div", { class: big ? "bar big" : "bar", role: "img" }, ...Object.values(parts));
  return {
    node,
    update(item) {
      const all = item.n > 0 ? item.n : item.n === 0 ? 1 : Math.max(item.read, 1);
      for (const name of Object.keys(parts)) parts[name].style.width = (100 * item[name]) / all + "%";
      attr(node, "aria-label", `${item.ok} ok, ${item.failed} failed, ${item.cancelled} cancelled of ${item.n >= 0 && item.n !== null ? item.n : item.read + " read so far"}`);
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
  dialog.showModal();
  document.getElementById("ask-no").focus();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

// later calls f when nothing more was typed for a moment.
export function later(f) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(f, 250);
  };
}
