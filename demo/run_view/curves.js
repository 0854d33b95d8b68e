// The four charts, the table that reads them, and their files.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const runs = (HaloVis.runs ??= {});
  const h = (...parts) => runs.dom.h(...parts);

  const HEIGHT = 204;
  const READ = [["loss", "columnTrain", "loss"], ["val_loss", "columnVal", "loss"], ["mAP50", "mAP50", "metric"], ["mAP50-95", "mAP50-95", "metric"], ["lr", "columnLr", "rate"]];

  /** The point of a series that the table reads: under the crosshair, else its latest epoch. */
  const read = (series, by, cursor) => (cursor === null ? series.epoch.length - 1 : runs.series.nearest(series, by, cursor));

  /** @returns {{epoch: string, values: string[]}} texts of a table row; dashes where nothing is there */
  function row(series, by, cursor) {
    const i = read(series, by, cursor);
    const { DASH } = runs.format;
    return {
      epoch: i < 0 ? DASH : String(series.epoch[i]),
      values: READ.map(([column, , write]) => (i < 0 ? DASH : runs.format[write](series.columns[column]?.[i] ?? null))),
    };
  }

  /** Where the crosshair goes by one key; null: away, undefined: this key does nothing. */
  function moved(places, cursor, key) {
    if (key === "Escape") return null;
    if (!places.length) return undefined;
    const now = cursor === null ? -1 : places.findIndex((p) => p >= cursor);
    const last = places.length - 1, from = now < 0 ? last : now;
    const to = {
      ArrowRight: cursor === null ? last : from + 1, ArrowUp: cursor === null ? last : from + 1, ArrowLeft: from - 1, ArrowDown: from - 1,
      PageUp: from + 5, PageDown: from - 5, Home: 0, End: last,
    }[key];
    return to === undefined ? undefined : places[Math.min(last, Math.max(0, to))];
  }

  class Curves {
    /** @param {HTMLElement} box an empty element @param {() => void} changed a choice was made, draw again */
    constructor(box, changed, signal) {
      Object.assign(this, { box, changed, by: "epoch", log: false, cursor: null, hidden: new Set(), slots: new Map(), all: [], lang: "en", plans: {} });
      this.tools = box.appendChild(Object.assign(document.createElement("div"), { className: "hr-tools" }));
      this.charts = box.appendChild(Object.assign(document.createElement("div"), { className: "hr-charts" }));
      this.table = box.appendChild(Object.assign(document.createElement("div"), { className: "hr-readout hr-scroll", tabIndex: 0 }));
      this.table.setAttribute("role", "region");
      this.sizes = {};
      const on = (type, handler) => box.addEventListener(type, handler, { signal });
      on("click", (event) => this.clicked(event.target.closest("[data-act]")));
      on("change", (event) => { if (event.target.dataset.act === "log") this.set({ log: event.target.checked }); });
      for (const type of ["pointermove", "pointerdown"]) on(type, (event) => this.point(event));
      on("pointerout", (event) => {
        const out = event.pointerType === "mouse" && event.target.closest?.(".hr-chart") && !event.relatedTarget?.closest?.(".hr-chart");
        if (out) this.set({ cursor: null });
      });
      on("keydown", (event) => this.key(event));
      on("focusout", (event) => { if (event.target.matches(".hr-chart")) this.set({ cursor: null }); });
      this.observer = new ResizeObserver(() => this.measure());
      this.observer.observe(this.charts);
    }

    /** Takes down how wide a chart is. */
    measure() {
      const first = this.charts.querySelector(".hr-chart");
      const width = Math.floor(first?.clientWidth ?? 0);
      if (width && width !== this.sizes.width) { this.sizes = { width }; this.changed(); }
    }

    set(wanted) {
      if (Object.entries(wanted).every(([key, value]) => this[key] === value)) return;
      Object.assign(this, wanted);
      this.changed();
    }

    toggle(key) {
      if (!this.hidden.delete(key)) this.hidden.add(key);
      this.changed();
    }

    clicked(target) {
      const act = target?.dataset.act;
      if (act === "by") this.set({ by: target.dataset.value, cursor: null });
      else if (act === "series") this.toggle(target.dataset.key);
      else if (act === "save-svg") runs.dom.download(this.fileName("svg"), this.svg(), "image/svg+xml");
      else if (act === "save-csv") runs.dom.download(this.fileName("csv"), runs.series.csv(this.all), "text/csv");
    }

    point(event) {
      const chart = event.target.closest?.(".hr-chart");
      const plan = chart && this.plans[chart.dataset.chart];
      if (!plan || event.buttons > 1) return;
      const x = event.clientX - chart.getBoundingClientRect().left;
      const places = runs.series.places(this.visible, this.by);
      if (!places.length) return;
      const near = (p) => Math.abs(plan.x(p) - x);
      this.set({ cursor: places.reduce((best, p) => (near(p) < near(best) ? p : best)) });
    }

    key(event) {
      if (!event.target.matches?.(".hr-chart") || event.ctrlKey || event.metaKey || event.altKey) return;
      const to = moved(runs.series.places(this.visible, this.by), this.cursor, event.key);
      if (to === undefined) return;
      event.preventDefault();
      this.set({ cursor: to });
    }

    get visible() { return this.all.filter((s) => !this.hidden.has(s.key)); }
    get view() { return { width: this.sizes.width ?? 480, height: HEIGHT, by: this.by, log: this.log, cursor: this.cursor }; }

    fileName(kind) {
      const title = this.all[0]?.title ?? "run";
      return `${HaloVis.save.safe(title) || "run"}_curves.${kind}`;
    }

    svg() { return runs.file.svg(this.lang, this.all, this.visible, { by: this.by, log: this.log, cursor: null }); }

    /** @param {string} lang @param {object} value from Python */
    draw(lang, value) {
      this.lang = lang;
      this.all = runs.series.seriesOf(value, lang, this.slots);
      for (const key of this.hidden) if (!this.all.some((s) => s.key === key)) this.hidden.delete(key);
      if (this.by === "minutes" && !runs.series.timed(this.all) && this.all.some((s) => s.epoch.length)) this.by = "epoch";
      this.paint();
    }

    /** With what was drawn last. */
    paint() {
      const { lang } = this;
      const say = (key, values) => runs.say(lang, key, values);
      const timed = runs.series.timed(this.all);
      runs.dom.patch(this.tools, [
        h("h3", { key: "name" }, say("curves")),
        runs.dom.choice("by", say("by"), [
          { value: "epoch", text: say("byEpoch") },
          { value: "minutes", text: say("byMinutes"), disabled: !timed, title: timed ? null : say("byMinutesNone") },
        ], this.by, { key: "by" }),
        runs.dom.tick("log", say("logLoss"), this.log),
        h("span", { class: "hr-push", key: "files" },
          runs.dom.button("save-svg", say("saveSvg"), { key: "svg", disabled: !this.all.length }),
          runs.dom.button("save-csv", say("saveCsv"), { key: "csv", disabled: !this.all.length })),
      ]);
      const axis = say(this.by === "minutes" ? "axisMinutes" : "axisEpoch");
      const places = runs.series.places(this.visible, this.by);
      runs.dom.patch(this.charts, runs.chart.CHARTS.map((chart) => {
        const { plan, tree } = runs.chart.draw(lang, chart, this.visible, this.all, this.view);
        this.plans[chart.name] = plan;
        const now = this.cursor ?? places.at(-1) ?? 0;
        return h("div", {
          key: chart.name, class: "hr-chart", "data-chart": chart.name, tabindex: 0, role: "slider",
          "aria-label": say("chartLabel", { name: say(chart.name), axis }), "aria-valuemin": places[0] ?? 0, "aria-valuemax": places.at(-1) ?? 0,
          "aria-valuenow": now, "aria-valuetext": this.spoken(chart, now),
        }, h("svg", { width: plan.width, height: HEIGHT, "aria-hidden": "true", focusable: "false" }, tree));
      }));
      this.paintTable();
      this.measure();
    }

    at(x) {
      if (x === null) return runs.say(this.lang, "latest");
      return this.by === "minutes" ? runs.say(this.lang, "atMinutes", { n: x.toFixed(1) }) : runs.say(this.lang, "atEpoch", { n: x });
    }

    /** The chart's values at a place, in words. */
    spoken(chart, x) {
      const parts = this.visible.flatMap((s) => {
        const i = runs.series.nearest(s, this.by, x);
        return chart.columns.map(([column, which]) => {
          const v = i < 0 ? null : s.columns[column]?.[i] ?? null;
          if (v === null) return null;
          const name = runs.series.nameOf(this.lang, s, this.all) + (chart.columns.length > 1 ? ` ${runs.say(this.lang, which)}` : "");
          return runs.say(this.lang, "valueOf", { name, value: runs.format[chart.write](v) });
        }).filter(Boolean);
      });
      return [this.at(x), ...parts].join("; ");
    }

    paintTable() {
      const { lang, by, cursor } = this;
      const say = (key, values) => runs.say(lang, key, values);
      this.table.setAttribute("aria-label", say("curves"));
      const head = (name, text) => h("th", { scope: "col", role: "columnheader", class: name }, text);
      const cell = (text) => h("td", { class: "hr-num", role: "cell" }, text);
      const swatch = (slot) => h("svg", { class: "hr-swatch", width: 26, height: 12, "aria-hidden": "true" },
        h("line", { x1: 0, x2: 26, y1: 6, y2: 6, class: `hr-line hr-focus hr-s${slot}` }), runs.chart.mark(slot, 13, 6, 3.5));
      runs.dom.patch(this.table, [h("table", { role: "table" }, // roles: on a phone its rows are no table rows for CSS
        h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head("hr-where", this.at(cursor)), head("hr-num", say("epoch")),
          READ.map(([, key]) => head("hr-num", say(key))))),
        h("tbody", { role: "rowgroup" }, this.all.map((s) => {
          const name = runs.series.nameOf(lang, s, this.all), { epoch, values } = row(s, by, cursor);
          const shown = !this.hidden.has(s.key);
          return h("tr", { role: "row", key: s.key, "data-hidden": shown ? null : "true" },
            h("th", { scope: "row", role: "rowheader" }, runs.dom.button("series", [swatch(s.slot), h("span", {}, name)], {
              class: "hr-legend", "data-key": s.key, "aria-pressed": String(shown), "aria-label": say("toggle", { name }), title: name,
            })),
            cell(epoch), values.map(cell));
        })))]);
    }

    destroy() { this.observer.disconnect(); }
  }

  runs.curves = { Curves, row, moved, READ, HEIGHT };
})();
