// Axes and paths: pure maths, no DOM.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const runs = (HaloVis.runs ??= {});

  /** Without the digits that adding steps leaves behind. */
  const clean = (v) => Number(v.toPrecision(12));

  /** The smallest of 1, 2, 5 times a power of ten that divides a span into no more than `count` parts. */
  function step(span, count, least = 0) {
    const rough = Math.max(span / Math.max(1, count), least, Number.MIN_VALUE * 1e16);
    const power = 10 ** Math.floor(Math.log10(rough));
    return clean([1, 2, 5, 10].find((m) => m * power >= rough * (1 - 1e-9)) * power);
  }

  /** Round numbers from low to high, both included where they are round. @returns {number[]} */
  function ticks(low, high, count, least = 0) {
    if (!(high > low)) return [low];
    const by = step(high - low, count, least);
    const out = [];
    for (let n = Math.ceil(low / by - 1e-9); n * by <= high + by * 1e-9; n++) out.push(clean(n * by) || 0);
    return out;
  }

  /** Round numbers of a logarithmic axis: powers of ten; with 2 and 5 between, or plain ones, where those are too few. */
  function logTicks(low, high, count) {
    const list = (mantissas) => {
      const out = [];
      for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++)
        for (const m of mantissas) { const v = clean(m * 10 ** p); if (v >= low * (1 - 1e-9) && v <= high * (1 + 1e-9)) out.push(v); }
      return out;
    };
    for (const mantissas of [[1], [1, 2, 5]]) { const out = list(mantissas); if (out.length >= 3) return thin(out, count); }
    return ticks(low, high, count).filter((v) => v > 0);
  }

  /** Every n-th of too many, so that the rest keeps its order. */
  function thin(list, count) {
    const every = Math.ceil(list.length / Math.max(1, count));
    return list.filter((_, i) => i % every === 0);
  }

  /** A tick as text: as many decimals as the step between ticks has. */
  function label(v, all) {
    const sign = (text) => text.replace("-", runs.format.MINUS);
    if (v === 0) return "0";
    const gaps = all.slice(1).map((t, i) => Math.abs(t - all[i]));
    const by = Math.min(Math.abs(v), ...gaps.filter((g) => g > 0));
    if (Math.max(...all.map(Math.abs)) < 1e-2 || Math.abs(v) >= 1e6) return sign(Number(v.toPrecision(3)).toExponential());
    return sign(v.toFixed(Math.min(6, Math.max(0, -Math.floor(Math.log10(by) + 1e-9)))));
  }

  /**
   * The range of an axis: around the values, with round ends.
   * @param {number[]} values finite @param {{zero?: boolean, log?: boolean, most?: number, count?: number}} [how]
   *   zero: begins at 0; most: no end beyond it
   * @returns {[number, number]}
   */
  function domain(values, { zero = false, log = false, most = Infinity, count = 4 } = {}) {
    const used = log ? values.filter((v) => v > 0) : values;
    if (!used.length) return log ? [0.1, 1] : [0, Math.min(1, most)];
    let low = Math.min(...used), high = Math.max(...used);
    if (log) {
      if (low === high) return [low / 2, high * 2];
      const room = (high / low) ** 0.05;
      return [low / room, high * room];
    }
    if (zero) low = Math.min(0, low);
    if (low === high) { const room = Math.abs(low) * 0.1 || 1; high += room; if (!zero) low -= room; }
    const by = step(high - low, count);
    low = clean(Math.floor(low / by + 1e-9) * by);
    high = clean(Math.ceil(high / by - 1e-9) * by);
    return [low, Math.min(high, Math.max(most, Math.max(...used)))];
  }

  /** From values to places. @returns {(v: number) => number} NaN where a logarithm has none */
  function linear([low, high], [from, to], log = false) {
    const at = log ? (v) => (v > 0 ? Math.log(v) : NaN) : (v) => v;
    const a = at(low), span = at(high) - a || 1;
    return (v) => from + ((at(v) - a) / span) * (to - from);
  }

  const place = (v) => String(Number(v.toFixed(2)));

  /**
   * A line through points with gaps; points alone between gaps would show nothing and are given as dots.
   * @param {Array<[number, number]|null>} points @returns {{d: string, alone: Array<[number, number]>}}
   */
  function path(points) {
    let d = "", open = false;
    const alone = [];
    const there = (p) => Boolean(p) && Number.isFinite(p[0]) && Number.isFinite(p[1]);
    points.forEach((p, i) => {
      if (!there(p)) { open = false; return; }
      if (!open && !there(points[i + 1])) { alone.push(p); return; }
      d += `${open ? "L" : "M"}${place(p[0])} ${place(p[1])}`;
      open = true;
    });
    return { d, alone };
  }

  runs.scale = { step, ticks, logTicks, thin, label, domain, linear, path, place };
})();
