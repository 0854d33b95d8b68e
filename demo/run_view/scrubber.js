// Attention over the epochs: one slider for all members, the mAP50 that belongs to it, play and pause.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const runs = (HaloVis.runs ??= {});
  const h = (...parts) => runs.dom.h(...parts);

  const STEP_MS = 600; // an epoch while playing
  const MINI = { height: 56, top: 8, bottom: 6, inset: 8 }; // inset: half a thumb of the slider, so that both have one axis

  const epochWord = (lang, n, whole) => (n === 0 ? runs.say(lang, "beforeTraining") : runs.say(lang, "epochOf", { n, whole }));

  /** mAP50 by epoch of one member: of its curve, and of its frames where the curve has none (before training). */
  function mapOf(series, frames) {
    const out = new Map();
    const add = (epoch, v) => { if (runs.format.isNumber(v)) out.set(epoch, v); };
    for (const [epoch, frame] of frames) add(epoch, frame.mAP50);
    series?.epoch.forEach((epoch, i) => add(epoch, series.columns.mAP50?.[i]));
    return new Map([...out].sort(([a], [b]) => a - b));
  }

  /** The small curves below the slider, and the points of the epoch that is shown. */
  function mini(lang, rows, epoch, whole, width) {
    const x = runs.scale.linear([0, Math.max(1, whole)], [MINI.inset, width - MINI.inset]);
    const values = rows.flatMap(({ map }) => [...map.values()]);
    const y = runs.scale.linear([0, Math.max(...values, 1e-9)], [MINI.height - MINI.bottom, MINI.top]);
    const lines = rows.map(({ slot, map }) => {
      const points = Array.from({ length: whole + 1 }, (_, e) => (map.has(e) ? [x(e), y(map.get(e))] : null));
      const { d, alone } = runs.scale.path(points);
      return [d ? h("path", { d, class: `hr-line hr-s${slot}` }) : null, alone.map(([px, py]) => runs.chart.mark(slot, px, py, 2))];
    });
    const now = rows.filter(({ map }) => map.has(epoch)).map(({ slot, map }) => runs.chart.mark(slot, x(epoch), y(map.get(epoch)), 4.5, { "data-now": String(epoch) }));
    return h("svg", { class: "hr-mini", width, height: MINI.height, role: "img", "aria-label": runs.say(lang, "miniLabel") },
      h("line", { x1: MINI.inset, x2: width - MINI.inset, y1: MINI.height - MINI.bottom, y2: MINI.height - MINI.bottom, class: "hr-grid" }),
      h("line", { x1: x(epoch), x2: x(epoch), y1: 0, y2: MINI.height - MINI.bottom, class: "hr-rule" }), lines, now);
  }

  class Scrubber {
    /** @param {HTMLElement} box an empty element @param {() => void} changed @param {{rgb: Uint8Array, palette: string[]}} colours */
    constructor(box, changed, colours, signal) {
      Object.assign(this, { box, changed, colours, panels: new Map(), run: "", epoch: null, log: false, boxes: true, timer: 0, lang: "en", whole: 1, series: [] });
      const make = (name) => box.appendChild(Object.assign(document.createElement("div"), { className: name }));
      this.tools = make("hr-tools");
      this.none = make("hr-nothing");
      this.pair = make("hr-pair");
      this.track = make("hr-track");
      const on = (type, handler) => box.addEventListener(type, handler, { signal });
      on("click", (event) => this.clicked(event.target.closest("[data-act]")));
      on("input", (event) => { if (event.target.dataset.act === "epoch") this.go(Number(event.target.value)); });
      on("change", (event) => this.chosen(event.target));
      this.observer = new ResizeObserver(() => this.changed());
      this.observer.observe(this.track);
    }

    /** Epochs that any member has, rising. */
    get epochs() { return [...new Set([...this.panels.values()].flatMap((p) => [...p.frames.keys()]))].sort((a, b) => a - b); }

    /** The epoch that is shown: the chosen one, else the newest of the member that is being trained. */
    get now() {
      const all = this.epochs;
      if (!all.length) return 0;
      if (this.epoch !== null) return all.findLast((e) => e <= this.epoch) ?? all[0];
      return this.follow;
    }

    /** The newest epoch of the member that is being trained, else the newest that all members have. */
    get follow() {
      const panels = [...this.panels.values()].filter((p) => p.frames.size);
      if (!panels.length) return 0;
      return (panels.find((p) => p.member === this.training) ?? panels.reduce((a, b) => (b.last < a.last ? b : a))).last;
    }

    get newest() { return this.epochs.at(-1) ?? 0; }

    /** @param {number} epoch the newest: from now on the newest again */
    go(epoch, playing = false) {
      if (!playing) this.pause();
      const { follow, newest } = this;
      this.epoch = epoch >= newest && follow === newest ? null : Math.max(0, epoch);
      this.changed();
    }

    clicked(target) {
      const act = target?.dataset.act;
      if (act === "play") { if (this.timer) this.pause(); else this.play(); this.changed(); }
      else if (act === "level") { this.panelOf(target).level = target.dataset.value; this.changed(); }
    }

    chosen(target) {
      const act = target.dataset.act;
      if (act === "heat-log") this.log = target.checked;
      else if (act === "boxes") this.boxes = target.checked;
      else if (act === "head") this.panelOf(target).head = Number(target.value);
      else return;
      this.changed();
    }

    panelOf(target) { return this.panels.get(target.closest(".hr-panel").dataset.member); }

    play() {
      const all = this.epochs;
      if (all.length < 2) return;
      if (this.now >= this.newest) this.epoch = all[0];
      this.timer = setInterval(() => {
        if (!this.box.isConnected) return void this.pause();
        const next = this.epochs.find((e) => e > this.now);
        if (next === undefined) this.pause();
        else this.go(next, true);
        if (this.now >= this.newest) this.pause();
        this.changed();
      }, STEP_MS);
    }

    pause() {
      clearInterval(this.timer);
      this.timer = 0;
    }

    /** @param {string} lang @param {object} value from Python @param {Array<object>} series with their colours */
    draw(lang, value, series) {
      const [run] = runs.series.runsOf(value);
      this.lang = lang;
      const id = run ? runs.series.text(run.id) : "";
      if (id !== this.run) { this.pause(); this.epoch = null; this.clear(); this.run = id; }
      this.series = series.filter((s) => s.run === id);
      this.training = runs.series.text(runs.series.object(run?.progress).member);
      if (!["running", "stopping"].includes(run?.state)) this.training = "";
      const entries = run ? runs.loading.entriesOf(value, run) : [];
      for (const [name, panel] of this.panels) if (!entries.some((e) => e.member === name)) { panel.destroy(); this.panels.delete(name); }
      for (const entry of entries) {
        if (!this.panels.has(entry.member)) {
          const box = this.pair.appendChild(Object.assign(document.createElement("section"), { className: "hr-panel" }));
          box.dataset.member = entry.member;
          this.panels.set(entry.member, new runs.panel.Panel(box, entry.member, () => this.changed(), this.colours));
        }
        this.panels.get(entry.member).source.update(entry);
      }
      entries.forEach((e, i) => { const { box } = this.panels.get(e.member); if (this.pair.children[i] !== box) this.pair.insertBefore(box, this.pair.children[i] ?? null); });
      this.active = ["new", "queued", "running", "stopping"].includes(run?.state);
      this.paint();
    }

    /** Is there, or will there be, anything to show? */
    get wanted() { return this.panels.size > 0 || Boolean(this.active); }
    get ready() { return [...this.panels.values()].every((p) => !p.source.pending); }

    paint() {
      const { lang, now } = this;
      const say = (key, values) => runs.say(lang, key, values);
      this.whole = Math.max(1, this.newest, ...this.series.map((s) => s.epochs));
      const there = this.panels.size > 0;
      runs.dom.patch(this.tools, [
        h("h3", { key: "name", title: say("attentionHelp") }, say("attention")),
        there ? h("span", { class: "hr-push", key: "flags" }, runs.dom.tick("heat-log", say("logScale"), this.log), runs.dom.tick("boxes", say("boxes"), this.boxes)) : null,
      ].filter(Boolean));
      this.none.hidden = there;
      HaloVis.readout.put(this.none, say("attentionNone"));
      this.pair.dataset.count = String(this.panels.size);
      this.track.hidden = !there;
      const rows = [...this.panels.values()].map((panel) => {
        const series = this.series.find((s) => s.member === panel.member);
        return { panel, slot: series?.slot ?? 0, map: mapOf(series, panel.frames) };
      });
      for (const { panel } of rows) panel.draw(lang, { epoch: now, log: this.log, boxes: this.boxes, whole: this.whole });
      const word = epochWord(lang, now, this.whole);
      const values = rows.filter(({ map }) => map.has(now)).map(({ panel, slot, map }) => h("span", { class: "hr-now", key: panel.member },
        h("svg", { width: 12, height: 12, "aria-hidden": "true" }, runs.chart.mark(slot, 6, 6, 4)), `${panel.member} mAP50 ${runs.format.metric(map.get(now))}`));
      const wide = () => Math.max(60, Math.floor(this.slot?.clientWidth || 300));
      const width = wide();
      runs.dom.patch(this.track, [
        runs.dom.button("play", say(this.timer ? "pause" : "play"), { key: "play", class: "hr-play", disabled: this.epochs.length < 2 }),
        h("div", { class: "hr-slot", key: "slot" },
          h("input", { type: "range", "data-act": "epoch", min: 0, max: this.whole, step: 1, value: String(now), "aria-label": say("epochSlider"), "aria-valuetext": word, disabled: this.epochs.length < 2 }),
          mini(lang, rows, now, this.whole, width)),
        h("p", { class: "hr-at", key: "at" }, h("strong", { key: "word" }, word), values),
      ]);
      this.slot = this.track.querySelector(".hr-slot");
      if (wide() !== width) this.changed();
    }

    clear() {
      for (const panel of this.panels.values()) panel.destroy();
      this.panels.clear();
    }

    destroy() {
      this.pause();
      this.observer.disconnect();
      this.clear();
    }
  }

  runs.scrubber = { Scrubber, mapOf, mini, epochWord, STEP_MS };
})();
