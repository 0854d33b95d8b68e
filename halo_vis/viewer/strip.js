// Small live views below the panels: the three layers of one point, or all heads of a layer. A click takes one.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});

  const TALL = { levels: 150, heads: 118 }; // CSS pixels
  const WIDEST = 240;
  const AROUND = 18; // of a small view: border, padding, gap

  /**
   * Size of a small view, CSS pixels: as tall as its kind is, as long as it is not too wide.
   * @param {{w: number, h: number}} crop photo pixels @param {"levels"|"heads"} kind
   * @param {number} [room] width for all three layers on a narrow screen; heads may be scrolled to
   */
  function sizeOf(crop, kind, room = Infinity) {
    const height = TALL[kind];
    const width = (height * crop.w) / crop.h;
    const widest = Math.min(WIDEST, kind === "levels" ? Math.max(60, room / 3 - AROUND) : Infinity);
    return width > widest ? { width: widest, height: (widest * crop.h) / crop.w } : { width, height };
  }

  /** What is written below a small view, and its full name. @param {{key: string, label: {level: string, head: number}}} thumb */
  function wordsOf(lang, { key, label: { level, head }, plan }) {
    const { layerName, headName, headWord } = HaloVis.readout;
    if (key === level) return { text: layerName(lang, level), name: layerName(lang, level) };
    return { text: headWord(lang, head, plan.layer.heads), name: headName(lang, head, plan.layer.heads) };
  }

  class Strip {
    /** @param {HTMLElement} box an empty element @param {(label: {level: string, head: number}) => void} pick @param {AbortSignal} signal */
    constructor(box, pick, signal) {
      this.box = box;
      this.shown = "";
      this.base = null;
      this.labels = new Map();
      box.addEventListener("click", (event) => {
        const key = event.target.closest("button")?.dataset.key;
        if (this.labels.has(key)) pick(this.labels.get(key));
      }, { signal });
    }

    /** The buttons, made anew only when other views are asked for. */
    build(lang, kind, thumbs) {
      const wanted = [kind, lang, ...thumbs.map(({ key }) => key)].join(" ");
      if (wanted === this.shown) return;
      this.shown = wanted;
      this.labels = new Map(thumbs.map(({ key, label }) => [key, label]));
      this.box.replaceChildren(...thumbs.map((thumb) => {
        const { make } = HaloVis.readout;
        const { text, name } = wordsOf(lang, thumb);
        const button = Object.assign(make("button", "hx-thumb"), { type: "button", title: name });
        button.dataset.key = thumb.key;
        button.setAttribute("aria-label", name);
        button.append(make("canvas"), make("span", "", text));
        return button;
      }));
    }

    /** The photo's part behind a small view: the same for all of them, so scaled once. */
    backdrop(data, crop, width, height) {
      const key = [width, height, crop.x, crop.y, crop.w].join();
      if (this.base?.key === key && this.base.photo === data.photo) return this.base.sheet;
      const sheet = HaloVis.paint.sheet(width, height);
      HaloVis.paint.drawPhoto(sheet.getContext("2d"), data.photo.near, data.frame, width / crop.w, crop, data.photo.reduced);
      this.base = { key, sheet, photo: data.photo };
      return sheet;
    }

    /**
     * @param {string} lang @param {object} data @param {"off"|"levels"|"heads"} kind
     * @param {Array<object>} thumbs from HaloVis.scene.thumbs @param {Uint8Array} rgb @param {number} room CSS pixels
     */
    show(lang, data, kind, thumbs, rgb, room) {
      this.box.hidden = thumbs.length === 0;
      this.build(lang, kind, thumbs);
      thumbs.forEach(({ plan, crop, chosen }, i) => {
        const button = this.box.children[i];
        const canvas = button.firstChild;
        const size = sizeOf(crop, kind, room);
        const width = Math.round(size.width * devicePixelRatio), height = Math.round(size.height * devicePixelRatio);
        if (canvas.width !== width || canvas.height !== height) {
          Object.assign(canvas, { width, height });
          Object.assign(canvas.style, { width: `${size.width}px`, height: `${size.height}px` });
        }
        const ctx = canvas.getContext("2d");
        ctx.setTransform(width / size.width, 0, 0, height / size.height, 0, 0);
        ctx.clearRect(0, 0, size.width, size.height);
        HaloVis.paint.panel(ctx, kind === "heads" ? { ...plan, window: null, dim: null } : plan, {
          photo: data.photo.near, backdrop: this.backdrop(data, crop, width, height), rgb,
          zoom: size.width / crop.w, view: crop,
        });
        const pressed = String(chosen);
        if (button.getAttribute("aria-pressed") !== pressed) button.setAttribute("aria-pressed", pressed);
      });
    }

    clear() {
      this.base = null;
      this.shown = "";
      this.box.replaceChildren();
      this.box.hidden = true;
    }
  }

  HaloVis.strip = { Strip, sizeOf, wordsOf };
})();
