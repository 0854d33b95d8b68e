// The two panels on the screen: canvases at the device's pixels, the part of the photo in view, the line between the two.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});

  const REACH = { mouse: 6, pen: 8, touch: 12 }; // CSS pixels around the border of a box that still mean the box

  class Stage {
    /** @param {HTMLElement} host @param {() => void} redraw */
    constructor(host, redraw) {
      this.canvases = Object.fromEntries(HaloVis.scene.SIDES.map((side) => [side, host.querySelector(`canvas[data-side="${side}"]`)]));
      this.divider = host.querySelector('[data-part="divider"]');
      /** Sizes by side: CSS pixels, and device pixels where the browser tells them. */
      this.sizes = {};
      this.labels = { baseline: [], halo: [] };
      this.plans = {};
      /** Backdrops by size and view: one, as long as both panels are equally large. @type {Array<object>} */
      this.bases = [];
      this.observer = new ResizeObserver((entries) => {
        for (const entry of entries) this.measure(entry.target, entry);
        redraw();
      });
      for (const canvas of Object.values(this.canvases)) {
        try {
          this.observer.observe(canvas, { box: "device-pixel-content-box" });
        } catch {
          this.observer.observe(canvas); // Safari
        }
        this.measure(canvas, null);
      }
    }

    /** Takes down how large a canvas is, so that drawing need not ask for the layout. */
    measure(canvas, entry) {
      const { width, height } = entry?.contentRect ?? { width: canvas.clientWidth, height: canvas.clientHeight };
      const device = entry?.devicePixelContentBoxSize?.[0];
      this.sizes[canvas.dataset.side] = { width, height, exact: device ? [device.inlineSize, device.blockSize] : null };
    }

    /** Device pixels of a panel: as the browser counts them, where that agrees with the ratio it gives. */
    pixels({ width, height, exact }) {
      const about = [width, height].map((length) => Math.max(1, Math.round(length * devicePixelRatio)));
      return exact?.every((length, i) => Math.abs(length - about[i]) <= 1) ? exact : about;
    }

    /** CSS width of the panels that are shown. */
    get width() { return this.sizes.halo.width || this.sizes.baseline.width; }

    /** The deepest zoom. @param {object} data */
    most(data) {
      const { levels, global } = data.pack;
      const strides = [...Object.values(levels), ...Object.values(global.halo), ...Object.values(global.baseline)].map((l) => l.stride);
      return HaloVis.zoom.most(Math.min(...strides) / data.frame.gainX, this.width, data.frame);
    }

    /** The part of the photo in view at the size of a canvas, so that a hover copies pixels instead of scaling the file. */
    backdrop(data, view, width, height) {
      const { image, copy } = data.photo.source((width * data.frame.width) / view.w);
      const key = [width, height, view.x, view.y, view.w].join();
      const kept = this.bases.find((base) => base.key === key && base.image === image);
      if (kept) return kept.sheet;
      const old = this.bases.length > 1 ? this.bases.shift() : this.bases.pop();
      const fits = old?.sheet.width === width && old.sheet.height === height;
      const sheet = fits ? old.sheet : HaloVis.paint.sheet(width, height);
      if (old && !fits) this.bases.push(old);
      const ctx = sheet.getContext("2d");
      ctx.setTransform(1, 0, 0, height / ((view.h * width) / view.w), 0, 0);
      HaloVis.paint.drawPhoto(ctx, image, data.frame, width / view.w, view, copy);
      this.bases = [...this.bases.slice(-1), { image, key, sheet }];
      return sheet;
    }

    /**
     * Draws both panels, or one of them with a line between left and right.
     * @param {object} data @param {object} state @param {{baseline: object, halo: object}} plans @param {Uint8Array} rgb
     */
    draw(data, state, plans, rgb) {
      const { paint, scene, zoom } = HaloVis;
      this.plans = plans;
      const view = zoom.visible(data.frame, zoom.limit(data.frame, state.zoom));
      if (view.w === data.frame.width) data.photo.relax();
      const slider = state.mode === "slider";
      for (const side of slider ? ["halo"] : scene.SIDES) {
        const size = this.sizes[side];
        if (!size.width) continue; // a hidden tab: the observer draws when it is shown
        const canvas = this.canvases[side];
        const [width, height] = this.pixels(size);
        if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
        const ctx = canvas.getContext("2d");
        const scale = size.width / view.w;
        ctx.setTransform(width / size.width, 0, 0, height / (view.h * scale), 0, 0);
        const look = {
          photo: data.image, backdrop: this.backdrop(data, view, width, height), rgb, diverging: data.diverging ?? rgb, zoom: scale, view,
        };
        if (slider) this.labels = paint.curtain(ctx, plans, look, state.curtain);
        else this.labels[side] = paint.panel(ctx, plans[side], look);
      }
    }

    /** What lies under a place of a panel. @returns {{px: number, py: number, side: string, index: number}} index -1: no box */
    under(data, state, { u, v, kind = "mouse" }, side) {
      const { paint, zoom } = HaloVis;
      const view = zoom.limit(data.frame, state.zoom);
      const [px, py] = zoom.toPhoto(data.frame, view, u, v);
      const at = state.mode === "slider" ? (u < state.curtain ? "baseline" : "halo") : side;
      const scale = (this.sizes[side].width * view.scale) / data.frame.width;
      const index = this.plans[at] ? paint.hit(this.plans[at].boxes, this.labels[at], px, py, scale, REACH[kind] ?? REACH.mouse) : -1;
      return { px, py, side: at, index };
    }

    /** Puts the line where the state has it, and lets a finger scroll the page as long as the whole photo is in view. */
    settle(lang, { mode, curtain, zoom }) {
      const slider = mode === "slider";
      this.divider.hidden = !slider;
      if (slider) {
        const share = Math.round(100 * curtain);
        this.divider.style.left = `${100 * curtain}%`;
        this.divider.setAttribute("aria-valuenow", String(share));
        this.divider.setAttribute("aria-valuetext", HaloVis.say(lang, "dividerAt", { n: share }));
      }
      for (const canvas of Object.values(this.canvases)) canvas.style.touchAction = zoom.scale > 1 ? "none" : "pan-y";
    }

    /** @param {(share: number) => void} moved @param {AbortSignal} signal */
    slide(moved, signal) {
      const { divider, canvases } = this;
      const on = (type, handler) => divider.addEventListener(type, handler, { signal });
      let held = false;
      on("pointerdown", (event) => {
        held = true;
        if (event.isTrusted) divider.setPointerCapture(event.pointerId);
        event.preventDefault();
        divider.focus();
      });
      on("pointermove", (event) => {
        if (!held) return;
        const box = canvases.halo.getBoundingClientRect();
        moved((event.clientX - box.left) / (box.width || 1));
      });
      for (const type of ["pointerup", "pointercancel"]) on(type, () => { held = false; });
      on("keydown", (event) => {
        const now = Number(divider.getAttribute("aria-valuenow")) / 100;
        const step = event.shiftKey ? 0.1 : 0.01;
        const to = {
          ArrowLeft: now - step, ArrowDown: now - step, ArrowRight: now + step, ArrowUp: now + step,
          PageDown: now - 0.1, PageUp: now + 0.1, Home: 0, End: 1,
        }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        moved(to);
      });
    }

    /** Nothing to show: what was drawn goes, and so does its memory. */
    clear() {
      this.bases = [];
      this.plans = {};
      for (const canvas of Object.values(this.canvases)) canvas.width = canvas.height = 1;
    }

    destroy() {
      this.observer.disconnect();
      this.bases = [];
    }
  }

  HaloVis.Stage = Stage;
})();
