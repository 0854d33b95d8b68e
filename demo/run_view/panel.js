// One member's side of the scrubber: picture, heat, choices and numbers. Keeps its layer and its head.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const runs = (HaloVis.runs ??= {});
  const h = (...parts) => runs.dom.h(...parts);

  const NUMBERS = ["cell", "ownBlock", "halo", "padding", "entropy", "most"];

  /** "P4", "layer 10". */
  const layerName = (lang, name) => {
    const n = /^layer(\d+)$/.exec(name)?.[1];
    return n ? runs.say(lang, "layerNumber", { n }) : name;
  };

  /** A multiple of uniform, as the explorer writes it. */
  const times = (v) => v.toFixed(v < 9.95 ? 2 : 1);

  class Panel {
    /** @param {HTMLElement} box an empty element @param {() => void} changed @param {{rgb: Uint8Array, palette: string[]}} colours */
    constructor(box, member, changed, colours) {
      const make = (tag, name) => box.appendChild(Object.assign(document.createElement(tag), { className: name }));
      Object.assign(this, { box, member, changed, colours, level: "", head: -1, ends: new Map(), shown: null });
      this.source = new runs.loading.Source(() => { this.ends.clear(); changed(); });
      this.header = make("div", "hr-panel-head");
      this.stage = make("div", "hr-stage");
      this.canvas = this.stage.appendChild(document.createElement("canvas"));
      this.canvas.setAttribute("role", "img");
      this.message = this.stage.appendChild(Object.assign(document.createElement("p"), { className: "hr-message" }));
      this.bar = make("div", "hr-scale");
      this.numbers = make("dl", "hr-figures hr-numbers");
      this.observer = new ResizeObserver(() => changed());
      this.observer.observe(this.stage);
    }

    get frames() { return this.source.frames; }
    get levels() { return runs.frames.levelsOf(this.frames); }
    get last() { return [...this.frames.keys()].at(-1) ?? -1; }

    /** The layer that is shown: the one that was chosen, as long as it is there. */
    get current() {
      const all = this.levels;
      return all.includes(this.level) ? this.level : all.includes("P4") ? "P4" : all[0] ?? "";
    }

    heads(name = this.current) {
      for (const frame of this.frames.values()) if (frame.levels[name]) return frame.levels[name].heads;
      return 0;
    }

    /** Its end of the colour bar, kept until other frames come. */
    end(level, head) {
      const key = `${level} ${head}`;
      if (!this.ends.has(key)) this.ends.set(key, runs.frames.endOf(this.frames, level, head));
      return this.ends.get(key);
    }

    /** What is shown at an epoch, for people and for scripts. */
    at(epoch) {
      const level = this.current, head = Math.min(this.head, this.heads(level) - 1);
      const frame = this.frames.get(epoch), data = frame?.levels[level];
      const numbers = data ? runs.frames.numbersOf(level, data, head, runs.frames.strideOf(this.source.probe, level)) : null;
      return { level, head, frame, data, numbers, end: level ? this.end(level, head) : 2 };
    }

    /** @param {string} lang @param {{epoch: number, log: boolean, boxes: boolean, whole: number}} now */
    draw(lang, now) {
      const { probe, error, image } = this.source;
      if (!runs.frames.soundProbe(probe)) return;
      const shown = (this.shown = this.at(now.epoch));
      this.choices(lang, shown);
      this.box.style.setProperty("--hr-aspect", String(probe.width / probe.height));
      const plan = runs.frames.plan(probe, shown.frame, { ...shown, ...now, palette: this.colours.palette });
      this.paint(plan, image);
      const say = (key, values) => runs.say(lang, key, values);
      const waiting = error ? say("attentionFailed", { why: error }) : !image || (!this.frames.size && this.source.pending) ? say("attentionLoading")
        : !shown.numbers ? say("attentionMissing", { member: this.member, n: now.epoch }) : "";
      HaloVis.readout.put(this.message, waiting);
      this.message.hidden = !waiting;
      const cell = shown.data ? say("cellName", { level: layerName(lang, shown.level), y: shown.data.y, x: shown.data.x }) : runs.format.DASH;
      this.canvas.setAttribute("aria-label", say("canvas", {
        member: this.member, layer: layerName(lang, shown.level), cell, epoch: runs.scrubber.epochWord(lang, now.epoch, now.whole), boxes: plan.boxes.length,
      }));
      HaloVis.readout.showBar(this.bar, lang, { max: now.log ? Math.max(2, shown.end) : shown.end, auto: false, log: now.log, diverging: false }, this.colours.rgb, "magma");
      this.figures(lang, shown, cell);
    }

    choices(lang, { level, head }) {
      const say = (key, values) => runs.say(lang, key, values);
      const heads = this.heads(level);
      runs.dom.patch(this.header, [
        h("strong", { class: "hr-member", key: "name", title: this.member }, this.member),
        runs.dom.choice("level", say("layer"), this.levels.map((name) => ({ value: name, text: layerName(lang, name) })), level, { key: "level" }),
        h("label", { class: "hr-field", key: "heads" }, say("heads"),
          h("select", { "data-act": "head", value: String(head) }, (heads > 1 ? [-1, ...Array(heads).keys()] : [head]).map((n) =>
            h("option", { key: n, value: String(n) }, n < 0 && heads > 1 ? say("mean") : String(Math.max(n, 0) + 1))))),
      ]);
    }

    paint(plan, image) {
      const { clientWidth: width } = this.stage;
      if (!width) return; // a hidden tab: the observer draws when it is shown
      const zoom = width / plan.width, ratio = window.devicePixelRatio || 1;
      const size = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(plan.height * zoom * ratio))];
      if (this.canvas.width !== size[0] || this.canvas.height !== size[1]) Object.assign(this.canvas, { width: size[0], height: size[1] });
      const ctx = this.canvas.getContext("2d");
      ctx.setTransform(1, 0, 0, 1, 0, 0);
      ctx.clearRect(0, 0, ...size);
      if (!image) return;
      ctx.setTransform(size[0] / width, 0, 0, size[1] / (plan.height * zoom), 0, 0);
      HaloVis.paint.panel(ctx, plan, { photo: image, rgb: this.colours.rgb, zoom });
    }

    figures(lang, { numbers, data }, cell) {
      const { percent, DASH } = runs.format;
      const mass = numbers?.mass;
      const texts = {
        cell, ownBlock: percent(mass?.block), halo: percent(mass?.halo), padding: percent(mass?.padding),
        entropy: numbers ? numbers.entropy.toFixed(2) : DASH,
        most: numbers?.peak ? runs.say(lang, "times", { n: times(numbers.peak.times) }) : DASH,
      };
      const global = data && !data.block; // one window that is the map: nothing to divide
      runs.dom.patch(this.numbers, NUMBERS.filter((key) => !global || !["ownBlock", "halo", "padding"].includes(key)).map((key) =>
        h("div", { key, "data-figure": key }, h("dt", {}, runs.say(lang, key)), h("dd", {}, texts[key]))));
    }

    destroy() {
      this.observer.disconnect();
      this.source.destroy();
      this.box.remove();
    }
  }

  runs.panel = { Panel, layerName };
})();
