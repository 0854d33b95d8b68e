// Members side by side, and runs side by side: tables, Markdown, CSV. The tables are plain data first.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const runs = (HaloVis.runs ??= {});
  const h = (...parts) => runs.dom.h(...parts);
  const F = () => runs.format;

  /**
   * @typedef {object} Row of a table of members
   * @property {string} name @property {Array<string>} texts of every member @property {Array<number|string|null>} values
   * @property {string} difference text; "" where there is none @property {boolean} group a heading of the rows below
   */

  /** Member that the difference is taken of, and the one it is taken from. @returns {[number, number]|null} */
  function pairOf(members) {
    const halo = members.findIndex((m) => m.name === "halo"), base = members.findIndex((m) => m.name === "baseline");
    if (halo >= 0 && base >= 0) return [halo, base];
    return members.length === 2 ? [1, 0] : null;
  }

  /** @param {string} lang @param {object} comparison comparison.json @returns {{names: string[], pair: string, rows: Row[], caption: string[]}} */
  function membersTable(lang, comparison) {
    const { list, object, text } = runs.series;
    const { metric, signed, whole, number, deviceName, DASH } = F();
    const say = (key, values) => runs.say(lang, key, values);
    const members = list(comparison.members).map(object).filter((m) => text(m.name));
    const pair = pairOf(members);
    const rows = [];
    const add = (name, values, write, difference) => {
      const [a, b] = pair ? pair.map((i) => number(values[i])) : [null, null];
      rows.push({ name, group: false, values, texts: values.map((v) => write(v)), difference: difference && a !== null && b !== null ? difference(a - b) : "" });
    };
    const column = (name) => members.map((m) => number(m[name]));
    for (const name of ["mAP50", "mAP50-95"]) add(name, column(name), metric, signed);
    add(say("parameters"), column("parameters"), whole, (v) => (v === 0 ? "0" : `${v < 0 ? F().MINUS : "+"}${whole(Math.abs(v))}`));
    add(say("latency"), column("latency_ms"), (v) => (v === null ? DASH : say("milliseconds", { n: v.toFixed(1) })), (v) => say("milliseconds", { n: signed(v, 1) }));
    add(say("columnEpochs"), column("epochs"), whole);
    add(say("trained"), members.map((m) => text(m.trained) || null), (v) => (v === null ? DASH : Object.hasOwn(runs.texts.en, `trained_${v}`) ? say(`trained_${v}`) : v));
    const classes = [...new Set(members.flatMap((m) => Object.keys(object(m.per_class))))];
    for (const [key, name] of [["perClass", "mAP50"], ["perClassStrict", "mAP50-95"]]) {
      if (!classes.length) continue;
      rows.push({ name: say(key), group: true, values: [], texts: [], difference: "" });
      for (const c of classes) add(c, members.map((m) => number(object(object(m.per_class)[c])[name])), metric, signed);
    }
    const split = { test: say("captionTest"), val: say("captionVal") }[comparison.split] ?? text(comparison.split, DASH);
    const caption = say("captionParts", {
      split, pictures: whole(comparison.pictures), imgsz: [comparison.imgsz].flat().map((v) => text(v, DASH)).join(" × "), device: deviceName(text(comparison.device, DASH)),
    });
    return {
      names: members.map((m) => text(m.name)), pair: pair ? say("difference", { a: text(members[pair[0]].name), b: text(members[pair[1]].name) }) : "",
      rows, caption: [caption, say("captionLatency")],
    };
  }

  /** @param {string} lang @param {Array<object>} all runs @param {Array<object>} series @returns {{head: string[], rows: string[][]}} */
  function runsTable(lang, all, series) {
    const { object, list, text, key, last, best, titlesOf } = runs.series;
    const { metric, DASH, duration } = F();
    const say = (k, values) => runs.say(lang, k, values);
    const titles = titlesOf(lang, all);
    const rows = all.flatMap((run, n) => list(run.members).map(object).filter((m) => text(m.name)).map((m) => {
      const s = series.find((one) => one.key === key(text(run.id), text(m.name)));
      const of = (column, pick) => { const i = s ? pick(s, column) : -1; return i < 0 ? [null, -1] : [s.columns[column][i], s.epoch[i]]; };
      const [top, when] = of("mAP50", best);
      const tested = list(object(run.comparison).members).map(object).find((one) => one.name === m.name);
      const seconds = s?.minutes?.length ? s.minutes.at(-1) * 60 : null;
      return [
        titles[n], text(m.name), runs.progress.stateWord(lang, run), s ? `${s.epoch.at(-1) ?? 0}/${s.epochs}` : DASH, metric(of("mAP50", last)[0]), metric(of("mAP50-95", last)[0]),
        top === null ? DASH : say("bestAt", { value: metric(top), n: when }), tested && run.comparison.split === "test" ? metric(tested.mAP50) : DASH, duration(lang, seconds),
      ];
    }));
    const head = ["columnRun", "member", "columnState", "columnEpochs", "columnLast", "columnLastStrict", "columnBest", "columnTested", "columnTime"].map((k) => say(k));
    return { head, rows };
  }

  // ---------------------------------------------------------------- files

  /** A cell of Markdown: nothing in it is markup, and it stays one cell. */
  const cell = (text) => String(text).replace(/[\r\n\u2028\u2029]+/g, " ").replace(/[\\`*_[\]<>|$~#&!]/g, (c) => ({ "<": "&lt;", ">": "&gt;", "&": "&amp;" })[c] ?? `\\${c}`);

  function grid(head, rows, left = 1) {
    const line = (list) => `| ${list.map(cell).join(" | ")} |`;
    return [line(head), `|${head.map((_, i) => (i < left ? " --- " : " ---: ")).join("|")}|`, ...rows.map(line)].join("\n");
  }

  /** @returns {string} the table of members as Markdown */
  function markdown(lang, comparison) {
    const { names, pair, rows, caption } = membersTable(lang, comparison);
    const lines = rows.map((r) => (r.group ? [r.name, ...names.map(() => ""), ...(pair ? [""] : [])] : [r.name, ...r.texts, ...(pair ? [r.difference] : [])]));
    return `${grid([runs.say(lang, "metric"), ...names, ...(pair ? [pair] : [])], lines)}\n\n${caption.map(cell).join(" ")}\n`;
  }

  /** @returns {string} the table of members as CSV, values with all digits */
  function csv(comparison) {
    const { object, list, text } = runs.series;
    const members = list(comparison.members).map(object).filter((m) => text(m.name));
    const classes = [...new Set(members.flatMap((m) => Object.keys(object(m.per_class))))];
    const about = ["split", "pictures", "imgsz", "device"].map((k) => [k, ...members.map(() => (Array.isArray(comparison[k]) ? comparison[k].join("x") : comparison[k] ?? null))]);
    const plain = ["form", "mAP50", "mAP50-95", "parameters", "latency_ms", "epochs", "trained"].map((k) => [k, ...members.map((m) => m[k] ?? null)]);
    const each = ["mAP50", "mAP50-95"].flatMap((k) => classes.map((c) => [`${k} of ${c}`, ...members.map((m) => object(object(m.per_class)[c])[k] ?? null)]));
    return runs.series.table([["metric", ...members.map((m) => text(m.name))], ...plain, ...each, ...about]);
  }

  // ---------------------------------------------------------------- the page

  class Compare {
    /** @param {HTMLElement} box an empty element */
    constructor(box, signal) {
      Object.assign(this, { box, lang: "en", run: null, told: "", field: "" });
      box.addEventListener("click", (event) => {
        const act = event.target.closest("[data-act]")?.dataset.act;
        if (act === "copy") this.copy();
        else if (act === "save") runs.dom.download(`${this.stem}_comparison.csv`, csv(this.run.comparison), "text/csv");
      }, { signal });
    }

    get stem() { return HaloVis.save.safe(runs.series.titleOf(this.lang, this.run)) || "run"; }

    /** Copies; where the browser refuses (a page without a certificate), shows the text to be copied by hand. */
    async copy() {
      const text = markdown(this.lang, this.run.comparison);
      try {
        await navigator.clipboard.writeText(text);
        Object.assign(this, { told: "copied", field: "" });
      } catch {
        Object.assign(this, { told: "copyYourself", field: text });
      }
      this.paint();
      const area = this.box.querySelector("textarea");
      if (area) { area.focus(); area.select(); }
    }

    draw(lang, all, series) {
      const before = this.run?.id;
      Object.assign(this, { lang, run: all[0] ?? null, all, series });
      if (this.run?.id !== before) Object.assign(this, { told: "", field: "" });
      this.paint();
    }

    get wanted() { return Boolean(this.comparison) || (this.all?.length ?? 0) > 1; }
    get comparison() { return this.run && runs.series.list(runs.series.object(this.run.comparison).members).length ? this.run.comparison : null; }

    paint() {
      const say = (key, values) => runs.say(this.lang, key, values);
      const parts = [];
      if (this.all.length > 1) {
        const { head, rows } = runsTable(this.lang, this.all, this.series);
        parts.push(h("div", { class: "hr-tools", key: "overlay-head" }, h("h3", {}, say("overlay"))),
          h("div", { class: "hr-scroll", key: "overlay", tabindex: 0, role: "region", "aria-label": say("overlay") },
            h("table", { class: "hr-wide" }, h("thead", {}, h("tr", {}, head.map((t, i) => h("th", { scope: "col", class: i > 2 ? "hr-num" : null }, t)))),
              h("tbody", {}, rows.map((r) => h("tr", {}, r.map((t, i) => h("td", { class: i > 2 ? "hr-num" : "hr-text", title: i < 2 ? t : null }, t))))))),
          h("p", { class: "hr-caption", key: "overlay-note" }, say("overlayNote")));
      }
      if (this.comparison) parts.push(...this.members(say));
      runs.dom.patch(this.box, parts);
    }

    members(say) {
      const { names, pair, rows, caption } = membersTable(this.lang, this.comparison);
      const columns = 1 + names.length + (pair ? 1 : 0);
      const line = (r) => (r.group ? h("tr", { class: "hr-group" }, h("th", { scope: "colgroup", colspan: columns }, r.name))
        : h("tr", {}, h("th", { scope: "row", class: "hr-text" }, r.name), r.texts.map((t) => h("td", { class: "hr-num" }, t)), pair ? h("td", { class: "hr-num" }, r.difference) : null));
      return [
        h("div", { class: "hr-tools", key: "members-head" }, h("h3", {}, say("comparison")), h("span", { class: "hr-push" },
          h("span", { class: "hr-told", role: "status" }, this.told ? say(this.told) : null),
          runs.dom.button("copy", say("copyMarkdown"), { key: "copy" }), runs.dom.button("save", say("saveCsv"), { key: "save" }))),
        this.field ? h("textarea", { key: "field", readonly: true, rows: 5, "aria-label": say("copyField"), value: this.field }) : null,
        h("div", { class: "hr-scroll hr-tall", key: "members", tabindex: 0, role: "region", "aria-label": say("comparison") }, h("table", {},
          h("thead", {}, h("tr", {}, h("th", { scope: "col" }, say("metric")), [...names, ...(pair ? [pair] : [])].map((t) => h("th", { scope: "col", class: "hr-num" }, t)))),
          h("tbody", {}, rows.map(line)))),
        h("p", { class: "hr-caption", key: "members-note" }, caption.join(" ")),
      ].filter(Boolean);
    }
  }

  runs.compare = { Compare, membersTable, runsTable, markdown, csv, cell };
})();
