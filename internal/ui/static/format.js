// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export const dash = "\u2013";

const known = (v) => v !== null && v !== undefined && Number.isFinite(v);

export const count = (n) => (known(n) ? whole.format(n) : dash);

// many is a number of things.
export const many = (n, one, more = one + "s") => `${count(n)} ${n === 1 ? one : more}`;

// number has three digits that count.
export function number(n) {
  if (!known(n)) return dash;
  const a = Math.abs(n);
  if (a >= 100 || a === 0) return whole.format(n);
  return n.toFixed(a >= 10 ? 1 : a >= 1 ? 2 : 3).replace(/\.?0+$/, "");
}

export const rate = (n) => (known(n) ? number(n) + "/s" : dash);

export function ms(n) {
  if (!known(n)) return dash;
  return n >= 10000 ? seconds(n / 1000) : number(n) + " ms";
}

export function seconds(s) {
  if (!known(s)) return dash;
  if (s < 0) return "-" + seconds(-s);
  if (s < 10) return number(Math.round(s * 10) / 10) + " s";
  if (s < 60) return Math.round(s) + " s";
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  let at = parts.findIndex(([n]) => s >= n);
  const [big, unit] = parts[at];
  const first = Math.floor(s / big);
  const rest = Math.floor((s - first * big) / parts[at + 1][0]);
  return `${first} ${unit}` + (rest ? ` ${rest} ${parts[at + 1][1]}` : "");
}

export function bytes(n) {
  if (!known(n)) return dash;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (Math.abs(n) >= 1024 && i < units.length - 1) (n /= 1024), i++;
  return number(n) + " " + units[i];
}

export const clock = (t) => new Date(t).toLocaleTimeString("en-GB");

export function when(t) {
  if (!t) return dash;
  const d = new Date(t);
  const day = d.toLocaleDateString("sv-SE");
  return (day === new Date().toLocaleDateString("sv-SE") ? "" : day + " ") + d.toLocaleTimeString("en-GB");
}

export const percent = (part, all) => (all > 0 ? Math.floor((100 * part) / all) + "%" : dash);
