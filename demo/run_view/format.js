// Numbers as words: pure, no DOM. Everything that is not a finite number becomes a dash.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const runs = (HaloVis.runs ??= {});
  const DASH = "–";
  const MINUS = "\u2212";

  const isNumber = (v) => typeof v === "number" && Number.isFinite(v);
  /** The first that is a finite number, else null. */
  const number = (v) => (isNumber(v) ? v : null);
  const orDash = (write) => (v, ...rest) => (isNumber(v) ? write(v, ...rest) : DASH);
  /** A hyphen would read as a dash. */
  const sign = (text) => text.replace(/^-/, MINUS).replace(/e-/, `e${MINUS}`);

  /** A share of one, three decimals. */
  const metric = orDash((v) => sign(v.toFixed(3)));
  /** A loss: four digits, never an exponent in the usual range. */
  const loss = orDash((v) => sign(Math.abs(v) < 1e5 && (Math.abs(v) >= 1e-3 || v === 0)
    ? v.toFixed(Math.max(0, 3 - Math.max(0, Math.floor(Math.log10(Math.abs(v) || 1))))) : v.toExponential(2)));
  /** A learning rate: three digits. */
  const rate = orDash((v) => (v === 0 ? "0" : sign(Math.abs(v) >= 1e-3 ? String(Number(v.toPrecision(3))) : v.toExponential(2))));
  /** A share as percent, "41 %". */
  const percent = orDash((v) => `${(100 * v).toFixed(v > 0 && v < 0.0995 ? 1 : 0)} %`);
  /** A difference with its sign. */
  const signed = orDash((v, digits = 3) => {
    const text = Math.abs(v).toFixed(digits);
    return Number(text) === 0 ? text : `${v < 0 ? MINUS : "+"}${text}`;
  });
  /** A whole number in groups of three. */
  const whole = orDash((v) => sign(String(Math.round(v)).replace(/\B(?=(\d{3})+$)/g, "\u202f")));
  /** One decimal below ten. */
  const brief = orDash((v) => sign(v.toFixed(Math.abs(v) < 9.95 ? 1 : 0)));

  /** Seconds in the two largest units that they have: "45 s", "1 min 20 s", "2 h 5 min". */
  function duration(lang, seconds) {
    if (!isNumber(seconds) || seconds < 0) return DASH;
    const s = Math.round(seconds);
    if (s < 60) return runs.say(lang, "seconds", { s });
    if (s < 3600) return runs.say(lang, "minutes", { m: Math.floor(s / 60), s: s % 60 });
    const m = Math.round(seconds / 60); // rounded once, or 59 min 59.6 s of an hour would be lost
    if (m < 1440) return runs.say(lang, "hours", { h: Math.floor(m / 60), m: m % 60 });
    const h = Math.round(seconds / 3600);
    return runs.say(lang, "days", { d: Math.floor(h / 24), h: h % 24 });
  }

  /** A device as people write it. */
  const deviceName = (text) => text.replace(/^cpu$/, "CPU");

  runs.format = { DASH, MINUS, isNumber, number, metric, loss, rate, percent, signed, whole, brief, duration, deviceName };
})();
