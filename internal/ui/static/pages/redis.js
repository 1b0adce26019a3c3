// Redis: how full it is, what survives it, what is wrong with it.

import { Facts, el, renew } from "../dom.js";
import { bytes, count, dash, rate, seconds, when } from "../format.js";
import { changes, live } from "../net.js";
import { plot } from "../plot.js";

const names = [["version", "version", "text"], ["used", "memory used"], ["max", "of at most"], ["full", "full"], ["peak", "peak"], ["policy", "policy", "text"],
  ["aof", "append-only file", "text"], ["rdb", "last snapshot", "text"], ["ops", "commands"], ["clients", "clients"], ["replicas", "replicas"], ["uptime", "up for"]];

export function show(main) {
  document.title = "Redis - weir";
  const problems = el("ul", { class: "problems" });
  const nodes = el("div");
  const shown = new Map();
  const plots = [
    plot("Memory used", [{ key: "used", name: "used", cls: "s1" }], bytes, 1024),
    plot("Commands a second", [{ key: "ops", name: "all clients", cls: "s1" }], rate),
  ];
  const drawn = el("div", { class: "plots" }, ...plots.map((p) => p.node));
  main.replaceChildren(el("h1", { text: "Redis" }), problems, nodes, drawn);
  const heard = changes();
  live("redis", {}, (v) => {
    const found = v.problems.map((p) => (p.fatal ? "Broken: " : "") + p.what + (p.remedy ? `. Mend it: ${p.remedy}` : ""));
    if (v.embedded) found.push("Redis is embedded in the process that serves this page: nothing survives it, and it tells little of itself.");
    renew(problems, ...found.map((p) => el("li", { class: p.startsWith("Broken") ? "bad" : "warn", text: p })));
    heard(found.join("; ") || "Nothing is wrong with Redis.");
    for (const n of v.nodes) {
      let facts = shown.get(n.addr);
      if (!facts) {
        facts = new Facts(names);
        shown.set(n.addr, facts);
        nodes.append(el("div", {}, el("h2", { text: n.addr }), facts.node));
      }
      tell(facts, n);
    }
    for (const [addr, facts] of shown) {
      if (v.nodes.some((n) => n.addr === addr)) continue;
      facts.node.parentNode.remove(); // it has left the Cluster
      shown.delete(addr);
    }
    drawn.hidden = v.nodes.every((n) => n.no_info);
    for (const p of plots) p.update(v.series);
  });
}

function tell(facts, n) {
  const full = n.max_memory ? n.full_percent : null;
  facts.set("version", n.version || dash);
  facts.set("used", n.no_info ? dash : bytes(n.used_memory));
  facts.set("max", n.no_info ? dash : n.max_memory ? bytes(n.max_memory) : "no limit");
  facts.set("full", full === null ? dash : full + "%", full >= 90 ? "bad" : full >= 70 ? "warn" : "");
  facts.set("peak", n.no_info ? dash : bytes(n.peak_memory));
  facts.set("policy", n.policy || dash, n.policy && n.policy !== "noeviction" ? "bad" : "");
  const broken = n.aof && n.aof_status && n.aof_status !== "ok";
  facts.set("aof", n.no_info ? dash : n.aof ? `on, fsync ${n.fsync || "?"}${broken ? ", write failed" : ""}` : "off", broken ? "bad" : n.aof || n.no_info ? "" : "warn");
  const saved = n.rdb_saved * 1000 > Date.now() - n.uptime_seconds * 1000 + 3000; // else it is when Redis began
  facts.set("rdb", saved ? `${when(n.rdb_saved * 1000)}${n.rdb_status && n.rdb_status !== "ok" ? ", failed" : ""}` : dash, n.rdb_status && n.rdb_status !== "ok" ? "bad" : "");
  facts.set("ops", n.no_info ? dash : rate(n.ops_per_second));
  facts.set("clients", n.clients ? count(n.clients) + (n.blocked_clients ? `, ${count(n.blocked_clients)} wait` : "") : dash);
  facts.set("replicas", n.no_info ? dash : count(n.replicas));
  facts.set("uptime", n.uptime_seconds ? seconds(n.uptime_seconds) : dash);
}
