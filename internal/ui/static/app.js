// Finds the page of the path and shows it.

import { attr, text } from "./dom.js";
import { about, trouble } from "./net.js";

const routes = [
  [/^\/$/, "batches", "/"],
  [/^\/batches\/([^/]+)$/, "batch", "/"],
  [/^\/batches\/([^/]+)\/tasks\/(\d+)$/, "task", "/"],
  [/^\/lanes$/, "lanes", "/lanes"],
  [/^\/lanes\/([^/]+)$/, "lane", "/lanes"],
  [/^\/workers$/, "workers", "/workers"],
  [/^\/redis$/, "redis", "/redis"],
];

async function begin() {
  for (const [pattern, page, nav] of routes) {
    const found = pattern.exec(location.pathname);
    if (!found) continue;
    for (const a of document.querySelectorAll("#nav a")) attr(a, "aria-current", a.getAttribute("href") === nav ? "page" : null);
    const [module, what] = await Promise.all([import(`./pages/${page}.js`), about()]);
    module.show(document.getElementById("main"), what, ...found.slice(1).map(decodeURIComponent));
    return;
  }
  text(document.getElementById("main"), "There is no such page.");
}

begin().catch((err) => trouble(err.message));
