// Talking with the server: news once a second, and actions.

import { holdFocus, text } from "./dom.js";
import { clock, seconds } from "./format.js";

const news = document.getElementById("news");
const wrong = document.getElementById("trouble");
const saidAt = document.getElementById("said");

// trouble shows what is wrong; "" is nothing.
export const trouble = (what) => text(wrong, what);

// announce has something read out that who sees the page sees by himself; the same as before
// too, since it is another text than none.
let heardAgo = 0;
export function announce(what) {
  const at = document.getElementById("heard");
  text(at, "");
  clearTimeout(heardAgo);
  heardAgo = setTimeout(() => {
    text(at, what);
    heardAgo = setTimeout(() => text(at, ""), 10000);
  }, 50);
}

// changes announces a state when it is another one than before.
export function changes() {
  let before = null;
  return (state) => {
    if (before !== null && state !== before) announce(state);
    before = state;
  };
}

// said tells what an action has done.
let saidAgo = 0;
export function said(what) {
  text(saidAt, what);
  clearTimeout(saidAgo);
  saidAgo = setTimeout(() => text(saidAt, ""), 20000);
}

async function answerOf(response) {
  const answer = await response.json().catch(() => ({ error: `${response.status} ${response.statusText}` }));
  if (!response.ok) throw Object.assign(new Error(answer.error || response.statusText), answer);
  return answer;
}

export async function get(path, params = {}) {
  return answerOf(await fetch(path + query(params), { headers: { Accept: "application/json" } }));
}

let told = null;
export const about = () => (told ??= get("/api/about"));

// act sends an action and tells what became of it; null where it was refused.
export async function act(path, body = {}) {
  try {
    const answer = await answerOf(await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }));
    trouble("");
    said(answer.done);
    return answer;
  } catch (err) {
    said("");
    trouble(err.message);
    return null;
  }
}

export function query(params) {
  const q = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== "" && value !== null && value !== undefined && value !== 0) q.set(name, value);
  }
  const s = q.toString();
  return s && "?" + s;
}

// remember puts a filter into the address, so that it can be passed on.
export function remember(params) {
  history.replaceState(null, "", location.pathname + query(params));
}

export const remembered = () => Object.fromEntries(new URLSearchParams(location.search));

// live shows a view as it is, each second, while the page is seen. It returns a func that
// asks for it with other parameters.
export function live(view, params, show) {
  let source = null;
  let last = 0;
  let asOf = 0;
  let away = false;
  const heard = changes();

  function open() {
    source?.close();
    source = new EventSource("/api/live" + query({ ...params, view }));
    source.addEventListener("view", (e) => {
      last = Date.now();
      asOf = Number(e.lastEventId); // by the server's clock
      if (away) {
        away = false;
        trouble("");
      }
      tell();
      const back = holdFocus();
      show(JSON.parse(e.data));
      back();
    });
    source.addEventListener("trouble", (e) => {
      const { error, missing } = JSON.parse(e.data);
      away = true;
      trouble(error);
      if (missing) source.close();
    });
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) setTimeout(() => document.hidden || open(), 3000);
    });
  }

  function tell() {
    const late = last && Date.now() - last > 5000;
    news.classList.toggle("late", late || !last);
    text(news, !last ? "connecting" : late ? `no news for ${seconds(Math.round((Date.now() - last) / 1000))}` : `live, ${clock(asOf)}`);
    if (last) heard(late ? "no news any more: what is shown is old" : "live again");
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) source?.close();
    else open();
  });
  addEventListener("pagehide", () => source?.close());
  setInterval(tell, 1000);
  open();
  return (changed) => {
    params = { ...params, ...changed };
    open();
  };
}
