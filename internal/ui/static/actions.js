// What an operator does to a batch.

import { ask } from "./dom.js";
import { act } from "./net.js";

const at = (name, action) => `/api/batches/${encodeURIComponent(name)}/${action}`;

export const pause = (name) => act(at(name, "pause"));
export const resume = (name) => act(at(name, "resume"));

export async function cancel(name) {
  const sure = await ask(`Cancel ${name}?`, "No attempt begins any more, running ones are cut off, and every task without an outcome gets the outcome cancelled. This cannot be undone.", "Cancel the batch");
  return sure ? act(at(name, "cancel")) : null;
}

export async function retry(name, count, cls = "", match = "") {
  const which = (cls ? ` of class ${cls}` : "") + (match ? ` with “${match}”` : "");
  const sure = await ask(`Retry failures of ${name}?`, `${count} failed tasks${which} are run again, as a new batch with the options of this one.`, "Retry");
  return sure ? act(at(name, "retry"), { class: cls, match }) : null;
}

// possible tells which actions make sense for a batch as it is.
export function possible(shown, over, failed, what) {
  const can = what.actions;
  return {
    pause: can && !over && shown === "running",
    resume: can && !over && shown === "paused",
    cancel: can && !over,
    retry: what.retry && over && failed > 0,
  };
}
