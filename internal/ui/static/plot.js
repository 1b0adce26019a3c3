// Plots of what was really seen: a line ends where nobody looked.

import { el, text, attr } from "./dom.js";
import { clock, number, dash } from "./format.js";

const NS = "http://www.w3.org/2000/svg";
const gap = 30000; // ms without a sample after which a line begins anew

function svg(tag, attrs = {}) {
  const node = document.createElementNS(NS, tag);
  for (const [k, v] of Object.entries(attrs)) node.setAttribute(k, v);
  return node;
}

// round is the next number of 1, 2, 2.5 or 5 times a power of ten, in units of base.
function round(max, base) {
  if (!(max > 0)) return 1;
  const unit = base ? base ** Math.floor(Math.log(max) / Math.log(base)) : 1;
  const ten = unit * 10 ** Math.floor(Math.log10(max / unit));
  return [1, 2, 2.5, 5, 10].map((n) => n * ten).find((n) => n >= max * 0.999);
}

function path(ts, vs, x, y) {
  let d = "";
  let last = null;
  vs.forEach((v, i) => {
    if (v === null) {
      last = null;
      return;
    }
    const pen = last !== null && ts[i] - last < gap ? "L" : "M";
    d += `${pen}${x(ts[i]).toFixed(1)} ${y(v).toFixed(1)}`;
    if (pen === "M" && (vs[i + 1] === null || vs[i + 1] === undefined)) d += "h0.1";
    last = ts[i];
  });
  return d;
}

// plot draws lines [{key, name, cls}] over time; show makes a value into text. base is what
// units of it are powers of, where that is not ten.
export function plot(title, lines, show = number, base = 0) {
  const keys = lines.map((l) => el("span", { class: "key " + l.cls }));
  const drawing = svg("svg", { class: "plot", role: "img", "aria-label": title });
  const node = el("figure", {}, el("figcaption", {}, el("b", { text: title }), ...keys));
  node.append(drawing);
  let series = null;
  let hover = null; // the sample pointed at
  let xs = [];

  function told(i) {
    lines.forEach((l, k) => {
      const vs = series[l.key] || [];
      const v = i === null ? vs.at(-1) : vs[i];
      text(keys[k], `${l.name} ${v === null || v === undefined ? dash : show(v)}` + (i !== null && k === 0 ? ` at ${clock(series.t[i])}` : ""));
    });
  }

  function draw() {
    if (!series) return;
    const ts = series.t || [];
    const w = Math.max(200, drawing.clientWidth || 400);
    const h = 150;
    const left = 56, right = 8, top = 10, bottom = 20;
    attr(drawing, "viewBox", `0 0 ${w} ${h}`);
    const values = lines.flatMap((l) => series[l.key] || []).filter((v) => v !== null);
    const max = round(Math.max(...values, 0), base);
    const to = ts.length ? ts.at(-1) : Date.now();
    const from = Math.min(ts.length ? ts[0] : to, to - 60000);
    const x = (t) => left + ((t - from) / (to - from)) * (w - left - right);
    const y = (v) => h - bottom - (v / max) * (h - top - bottom);
    const parts = [];
    for (const v of [0, max / 2, max]) {
      parts.push(svg("line", { class: "grid", x1: left, x2: w - right, y1: y(v), y2: y(v) }));
      const label = svg("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" });
      label.textContent = show(v);
      parts.push(label);
    }
    [[from, "start"], [(from + to) / 2, "middle"], [to, "end"]].forEach(([t, anchor]) => {
      const label = svg("text", { x: x(t), y: h - 5, "text-anchor": anchor });
      label.textContent = clock(t);
      parts.push(label);
    });
    for (const l of [...lines].reverse()) {
      parts.push(svg("path", { class: l.cls, d: path(ts, series[l.key] || [], x, y) }));
    }
    xs = ts.map(x);
    if (hover !== null && hover < ts.length) parts.push(svg("line", { class: "cross", x1: xs[hover], x2: xs[hover], y1: top, y2: h - bottom }));
    if (!values.length) {
      const label = svg("text", { x: (left + w - right) / 2, y: h / 2, "text-anchor": "middle" });
      label.textContent = "nothing to plot yet: it is drawn while somebody looks";
      parts.push(label);
    }
    drawing.replaceChildren(...parts);
    told(hover !== null && hover < ts.length ? hover : null);
    attr(drawing, "aria-label", `${title}: ` + keys.map((k) => k.textContent).join(", "));
  }

  drawing.addEventListener("pointermove", (e) => {
    const at = e.clientX - drawing.getBoundingClientRect().left;
    hover = xs.length ? xs.reduce((best, v, i) => (Math.abs(v - at) < Math.abs(xs[best] - at) ? i : best), 0) : null;
    draw();
  });
  drawing.addEventListener("pointerleave", () => {
    hover = null;
    draw();
  });
  new ResizeObserver(draw).observe(node);
  return {
    node,
    update(s) {
      series = s;
      draw();
    },
  };
}

// spark is a plot without words: how many were in flight, and may be.
export function spark() {
  const node = svg("svg", { class: "spark", role: "img", viewBox: "0 0 110 24" });
  const limit = svg("path", { class: "s3" });
  const flight = svg("path", { class: "s1" });
  node.append(limit, flight);
  return {
    node,
    update(flights, limits) {
      const max = Math.max(1, ...flights, ...limits.filter((v) => v !== null));
      const x = (i) => 1 + (i / 59) * 108;
      const y = (v) => 22 - (v / max) * 20;
      const ts = flights.map((_, i) => i + 60 - flights.length);
      flight.setAttribute("d", path(ts, flights, x, y));
      limit.setAttribute("d", path(ts, limits, x, y));
      attr(node, "aria-label", `in flight, of late: ${flights.at(-1) ?? 0}, at most ${Math.max(0, ...flights)}`);
    },
  };
}
