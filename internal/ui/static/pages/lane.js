// One lane: what it does, why its tasks wait, and what an operator sets.

import { Facts, ask, el, text } from "../dom.js";
import { count, dash, ms, rate, seconds } from "../format.js";
import { act, changes, live } from "../net.js";
import { plot } from "../plot.js";

const fields = [
  ["limit", "Fixed limit", "adapts"],
  ["max", "Most in flight", "none"],
  ["min", "Fewest in flight", "none"],
  ["rate", "Rate", "none"],
  ["burst", "Burst", "none"],
  ["weight", "Weight", "1 to 100"],
  ["shards", "Shards", "1 to 64"],
];

export function show(main, what, name) {
  document.title = `${name} - weir`;
  const state = el("span");
  const waits = el("p", { class: "sub" });
  const facts = new Facts([["flight", "in flight"], ["limit", "limit"], ["pending", "pending"], ["later", "later"], ["oldest", "oldest waits"],
    ["ended", "ended"], ["rate", "rate limit"], ["latency", "latency"], ["ratio", "against usual", "text"], ["drain", "drained in"], ["workers", "workers"], ["queues", "queues", "text"]]);
  const why = el("p");
  const plots = [
    plot("In flight", [{ key: "in_flight", name: "in flight", cls: "s1" }, { key: "limit", name: "limit", cls: "s3" }]),
    plot("Attempts ended a second", [{ key: "rate", name: "ended", cls: "s1" }], rate),
    plot("Latency", [{ key: "latency", name: "latency", cls: "s1" }], ms),
    plot("Pending", [{ key: "pending", name: "pending", cls: "s1" }]),
  ];
  const set = settings(name);
  main.replaceChildren(
    el("h1", {}, name, " ", state), waits, facts.node, why,
    el("div", { class: "plots" }, ...plots.map((p) => p.node)),
    el("h2", { text: "Settings" }),
    what.actions ? set.node : el("p", { class: "muted", text: "This UI only shows; producer lane sets them." }),
  );
  const heard = changes();
  live("lane", { name }, (l) => {
    heard(`${name} is ${l.state}`);
    text(state, l.state);
    state.className = "state " + l.state;
    text(waits, l.waits ? `Tasks wait: ${l.waits}` : "Nothing waits.");
    facts.set("flight", count(l.in_flight));
    facts.set("limit", l.governed ? count(l.limit) : dash);
    facts.set("pending", count(l.pending));
    facts.set("later", count(l.later));
    facts.set("oldest", l.pending ? seconds(l.oldest_ms / 1000) : dash);
    facts.set("ended", rate(l.ended_per_second));
    facts.set("rate", l.rate > 0 ? rate(l.rate) : dash);
    facts.set("latency", ms(l.latency_ms));
    facts.set("ratio", l.base_ms > 0 ? `${l.latency_ratio.toFixed(2)} x ${ms(l.base_ms)}` : dash);
    facts.set("drain", seconds(l.drain_seconds));
    facts.set("workers", l.governed ? count(l.workers) : dash);
    facts.set("queues", count(l.shards) + (l.queues > l.shards ? `, still ${count(l.queues)} known` : ""));
    text(why, l.why ? `Last change: ${l.why}.` : "");
    for (const p of plots) p.update(l.series);
    set.update(l);
  });
}

function settings(name) {
  const path = `/api/lanes/${encodeURIComponent(name)}`;
  const inputs = new Map();
  const edited = new Set(); // fields that somebody is about to change: news leave them alone
  let was = {};
  const boxes = fields.map(([key, title, hint]) => {
    const input = el("input", { class: "short", id: "set-" + key, name: key, placeholder: hint, inputmode: key === "rate" ? "text" : "numeric", autocomplete: "off" });
    inputs.set(key, input);
    return el("label", { class: "stacked", for: "set-" + key }, title, input);
  });
  const hold = el("button", { type: "button", text: "Pause", onclick: async () => (await act(path, was.held ? { resume: true } : { pause: true })) });
  const reset = el("button", {
    type: "button", text: "Forget\u2026",
    onclick: async () => (await ask(`Forget what was learned of ${name}?`, "Its limit begins anew, with few in flight.", "Forget")) && act(path, { reset: true }),
  });
  const form = el("form", { class: "settings", "aria-label": "Settings of the lane" }, ...boxes,
    el("div", { class: "row" }, el("button", { class: "primary", text: "Save" }), hold, reset));
  form.addEventListener("submit", async (e) => {
    e.preventDefault();
    const change = {};
    const sent = new Map([...edited].map((key) => [key, inputs.get(key).value.trim()]));
    for (const [key, value] of sent) {
      const input = inputs.get(key);
      if (value === was[key]) continue;
      if (key === "rate") change.rate = value || "none";
      else if (/^\d*$/.test(value)) change[key] = Number(value || (key === "weight" || key === "shards" ? 1 : 0));
      else {
        input.setCustomValidity("a whole number");
        input.reportValidity();
        input.addEventListener("input", () => input.setCustomValidity(""), { once: true });
        return;
      }
    }
    if (Object.keys(change).length && !(await act(path, change))) return;
    for (const [key, value] of sent) if (inputs.get(key).value.trim() === value) edited.delete(key); // else it was typed in meanwhile
  });
  form.addEventListener("input", (e) => {
    const { name: key, value } = e.target;
    if (value.trim() === was[key]) edited.delete(key);
    else edited.add(key);
  });
  return {
    node: el("div", {}, form, el("p", { class: "muted", text: "An empty field takes a setting away. Rates are 100/s, 600/m, 1000/h or 3/10s, in all workers together." })),
    // update shows what is set.
    update(l) {
      const c = l.config || {};
      was.held = l.state === "held" || !!c.paused;
      text(hold, was.held ? "Resume" : "Pause");
      const now = { limit: c.limit, max: c.max, min: c.min, burst: c.burst, rate: c.rate ? `${+c.rate.toPrecision(12)}/s` : "", weight: l.weight, shards: l.shards };
      for (const [key, input] of inputs) {
        const value = now[key] ? String(now[key]) : "";
        if (!edited.has(key)) input.value = value;
        was[key] = value;
      }
    },
  };
}
