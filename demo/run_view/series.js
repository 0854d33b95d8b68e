// From snapshots to curves: one series per run and member. Pure, no DOM. Snapshots may lack anything.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const runs = (HaloVis.runs ??= {});

  const MOST_RUNS = 4;
  const COLOURS = 8;
  const SHAPES = ["circle", "square", "triangle", "diamond"]; // the second four colours have them hollow
  /** What a curve may hold; any other column of a snapshot goes into the CSV as well. */
  const COLUMNS = ["loss", "val_loss", "mAP50", "mAP50-95", "lr"];

  /**
   * @typedef {object} Series
   * @property {string} key unique and the same in every update
   * @property {string} run id @property {string} title @property {string} member @property {boolean} focus of the first run
   * @property {number} slot colour and shape
   * @property {number[]} epoch rising @property {number[]|null} minutes since the start, at the end of each epoch
   * @property {Object<string, Array<number|null>>} columns as long as `epoch`
   * @property {number} epochs how many are asked for
   */

  const list = (v) => (Array.isArray(v) ? v : []);
  const object = (v) => (typeof v === "object" && v !== null && !Array.isArray(v) ? v : {});
  const text = (v, otherwise = "") => (typeof v === "string" || typeof v === "number" ? String(v) : otherwise);
  const key = (run, member) => JSON.stringify([run, member]);

  /** The runs of a value that can be shown, the first one in focus. */
  const runsOf = (value) => list(object(value).runs).filter((run) => text(object(run).id)).slice(0, MOST_RUNS);

  const titleOf = (lang, run) => text(run.title).trim() || runs.say(lang, "untitled", { id: text(run.id) });

  /** Titles of runs; those that are the same get their ids. @returns {string[]} */
  function titlesOf(lang, all) {
    const titles = all.map((run) => titleOf(lang, run));
    return titles.map((title, i) => (titles.filter((t) => t === title).length > 1 ? `${title} (${text(all[i].id)})` : title));
  }

  /** Curves of a member in the order of their epochs; of an epoch that appears twice the later line counts. */
  function columnsOf(curves) {
    const order = new Map();
    list(curves.epoch).forEach((epoch, i) => { if (runs.format.isNumber(epoch)) order.set(epoch, i); });
    const epoch = [...order.keys()].sort((a, b) => a - b);
    const columns = {};
    for (const [name, values] of Object.entries(curves))
      if (name !== "epoch" && Array.isArray(values)) columns[name] = epoch.map((e) => runs.format.number(values[order.get(e)]));
    return { epoch, columns };
  }

  /** Minutes of training at the end of every epoch; null where a time is missing. */
  function minutesOf(epoch, seconds) {
    if (!seconds || !epoch.length || seconds.some((s) => s === null || s < 0)) return null;
    let sum = 0;
    return seconds.map((s) => (sum += s) / 60);
  }

  /**
   * @param {object} value from Python @param {Map<string, number>} slots colours given before; taken on, and freed where a
   *   series has gone: no curve changes its colour because another comes or goes
   * @returns {Series[]}
   */
  function seriesOf(value, lang, slots = new Map()) {
    const all = runsOf(value), titles = titlesOf(lang, all);
    const out = all.flatMap((run, n) => list(run.members).filter((m) => text(object(m).name)).map((member) => {
      const { epoch, columns } = columnsOf(object(member.curves));
      return {
        key: key(text(run.id), text(member.name)), run: text(run.id), title: titles[n], member: text(member.name), focus: n === 0,
        slot: 0, epoch, columns, minutes: minutesOf(epoch, columns.seconds),
        epochs: Math.max(runs.format.number(member.epochs) ?? 0, epoch.at(-1) ?? 0),
      };
    }));
    const there = new Set(out.map((s) => s.key));
    for (const old of [...slots.keys()]) if (!there.has(old)) slots.delete(old);
    for (const s of out) {
      if (!slots.has(s.key)) {
        const taken = new Set(slots.values());
        let free = 0;
        while (taken.has(free)) free++;
        slots.set(s.key, free);
      }
      s.slot = slots.get(s.key) % COLOURS;
    }
    return out;
  }

  /** What a series is called: its member alone, where there is but one run. */
  function nameOf(lang, series, all) {
    const several = new Set(all.map((s) => s.run)).size > 1;
    return several ? runs.say(lang, "seriesName", series) : series.member;
  }

  /** Places on the horizontal axis. @param {"epoch"|"minutes"} by */
  const xs = (series, by) => (by === "minutes" ? series.minutes ?? [] : series.epoch);

  /** Can all curves be drawn over minutes? */
  const timed = (all) => all.some((s) => s.epoch.length) && all.every((s) => !s.epoch.length || s.minutes);

  /** Index of the point at an epoch, or nearest to a time; -1: there is none. */
  function nearest(series, by, x) {
    const at = xs(series, by);
    let best = -1;
    at.forEach((v, i) => { if (best < 0 || Math.abs(v - x) < Math.abs(at[best] - x)) best = i; });
    return best >= 0 && by === "epoch" && at[best] !== x ? -1 : best;
  }

  /** All places of all series, rising. */
  const places = (all, by) => [...new Set(all.flatMap((s) => xs(s, by)))].sort((a, b) => a - b);

  /** Index of the last value of a column; -1: there is none. */
  const last = (series, column) => (series.columns[column] ?? []).findLastIndex((v) => v !== null);

  /** Index of the largest value of a column; -1: there is none. */
  function best(series, column) {
    let found = -1;
    (series.columns[column] ?? []).forEach((v, i) => { if (v !== null && (found < 0 || v > series.columns[column][found])) found = i; });
    return found;
  }

  /** All numbers of all curves: a line per run, member and epoch. @param {Series[]} all @returns {string} RFC 4180 */
  function csv(all) {
    const rest = [...new Set(all.flatMap((s) => Object.keys(s.columns)))].filter((name) => !COLUMNS.includes(name));
    const names = [...COLUMNS.filter((name) => all.some((s) => s.columns[name])), ...rest];
    const lines = [["run", "title", "member", "epoch", "minutes", ...names]];
    for (const s of all)
      s.epoch.forEach((epoch, i) => lines.push([s.run, s.title, s.member, epoch, s.minutes?.[i] ?? null, ...names.map((name) => s.columns[name]?.[i] ?? null)]));
    return runs.series.table(lines);
  }

  /** Lines of values as RFC 4180; a text that a spreadsheet would take for a formula gets an apostrophe in front. */
  const table = (lines) => lines.map((line) => `${line.map(HaloVis.csv.field).join(",")}\r\n`).join("");

  runs.series = { SHAPES, COLUMNS, list, object, text, key, runsOf, titleOf, titlesOf, columnsOf, seriesOf, nameOf, xs, timed, nearest, places, last, best, csv, table };
})();
