// Finds the page of the path and shows it.

import { attr, text } from "./dom.js";
import { about, trouble } from "./net.js";

const routes = [ // of the path, the module of the page, and the part of the UI it belongs to
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
    const part = location.hash && document.getElementById(location.hash.slice(1));
    if (part) {
      if (part.tabIndex < 0) part.tabIndex = -1; // else it can have the focus by itself
      part.focus();
    }
    return;
  }
  text(document.getElementById("main"), "There is no such page.");
}

begin().catch((err) => trouble(err.message));
