// Drawing onto a given 2D context, and the geometry of what was drawn.
// One unit of the context is one CSS pixel; `zoom` is CSS pixels per photo pixel. Photo, heat and lines go through one
// and the same transform, so that they lie on one another at any zoom.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});

  const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans SC", "PingFang SC", "Microsoft YaHei", sans-serif';
  const LABEL = 12;

  /** 256 * 6 hex digits -> RGB bytes. @param {string} hex @returns {Uint8Array} */
  function colors(hex) {
    const out = new Uint8Array(hex.length / 2);
    for (let i = 0; i < out.length; i++) out[i] = parseInt(hex.slice(2 * i, 2 * i + 2), 16);
    return out;
  }

  /** A canvas that is not on the page. @param {number} width @param {number} height */
  function sheet(width, height) {
    if (typeof OffscreenCanvas === "function") return new OffscreenCanvas(width, height);
    return Object.assign(document.createElement("canvas"), { width, height });
  }

  /**
   * Where a value lies on the colour bar, 0 to 1. The one place that maps values to colours.
   * Linear: 0 to max. Log: 1/max to max, 1 in the middle. Diverging: -max to max, 0 in the middle.
   * @param {number} value times uniform @param {{max: number, log?: boolean, diverging?: boolean}} heat
   * @returns {number} NaN stays NaN: not drawn
   */
  function position(value, { max, log = false, diverging = false }) {
    let at = value / max;
    if (diverging) at = (at + 1) / 2;
    else if (log) {
      const end = Math.max(2, max);
      at = value > 0 ? 0.5 + Math.log2(value) / (2 * Math.log2(end)) : value <= 0 ? 0 : NaN;
    }
    return at < 0 ? 0 : at > 1 ? 1 : at;
  }

  /** Which of `count` colours stands for a value; NaN where none does. */
  const colorAt = (value, heat, count = 256) => Math.min(count - 1, Math.floor(position(value, heat) * count));

  /** RGBA bytes of a map; NaN is transparent. @param {number|object} heat its scale (a number: linear, 0 to it) @param {number} [alpha] 0 to 255 */
  function pixels(values, heat, rgb, out = new Uint8ClampedArray(values.length * 4), alpha = 255) {
    const scale = typeof heat === "number" ? { max: heat } : heat;
    for (let n = 0; n < values.length; n++) {
      const at = colorAt(values[n], scale);
      if (Number.isNaN(at)) { out[4 * n + 3] = 0; continue; }
      const c = 3 * at;
      out[4 * n] = rgb[c];
      out[4 * n + 1] = rgb[c + 1];
      out[4 * n + 2] = rgb[c + 2];
      out[4 * n + 3] = alpha;
    }
    return out;
  }

  /** Sheets that are painted anew for each map, by size: a canvas per hover would keep the collector busy. */
  const scratch = new Map();

  function scratchOf(cols, rows) {
    const key = `${cols} ${rows}`;
    let kept = scratch.get(key);
    if (!kept) {
      if (scratch.size >= 12) scratch.delete(scratch.keys().next().value);
      const small = sheet(cols, rows);
      const target = small.getContext("2d");
      scratch.set(key, kept = { small, target, image: target.createImageData(cols, rows) });
    }
    return kept;
  }

  /** @param {CanvasRenderingContext2D} ctx @param {object} heat @param {{rgb: Uint8Array, diverging?: Uint8Array}} look */
  function drawHeat(ctx, heat, { rgb, diverging = rgb }, opacity, zoom) {
    if (ctx.drawMap) return void ctx.drawMap(heat, heat.diverging ? diverging : rgb, opacity, zoom); // an SVG takes the values
    const { small, target, image } = scratchOf(heat.cols, heat.rows);
    // The opacity is in the pixels: to enlarge a picture with a globalAlpha takes a software canvas three times as long.
    pixels(heat.values, heat, heat.diverging ? diverging : rgb, image.data, Math.round(255 * opacity));
    target.putImageData(image, 0, 0);
    ctx.save();
    ctx.imageSmoothingEnabled = false;
    const { x, y, w, h } = heat.rect;
    ctx.drawImage(small, x * zoom, y * zoom, w * zoom, h * zoom);
    ctx.restore();
  }

  /** A line that shows on any picture: dark casing below, light line above. */
  function outline(ctx, rect, zoom, { width = 1.5, dash = [], light = "#fff", dark = "rgba(0,0,0,.65)" } = {}) {
    const box = [rect.x * zoom, rect.y * zoom, rect.w * zoom, rect.h * zoom];
    ctx.save();
    ctx.strokeStyle = dark;
    ctx.lineWidth = width + 2;
    ctx.strokeRect(...box);
    ctx.strokeStyle = light;
    ctx.lineWidth = width;
    ctx.setLineDash(dash);
    ctx.strokeRect(...box);
    ctx.restore();
  }

  function dimOutside(ctx, rect, width, height, zoom) {
    ctx.save();
    ctx.fillStyle = "rgba(0,0,0,.28)";
    ctx.beginPath();
    ctx.rect(0, 0, width * zoom, height * zoom);
    ctx.rect(rect.x * zoom, rect.y * zoom, rect.w * zoom, rect.h * zoom);
    ctx.fill("evenodd");
    ctx.restore();
  }

  function drawLattice(ctx, lattice, width, height, zoom) {
    for (const [lines, alpha] of [[lattice.fine, 0.22], [lattice.coarse, 0.6]]) {
      ctx.save();
      ctx.strokeStyle = `rgba(255,255,255,${alpha})`;
      ctx.lineWidth = 0.75;
      ctx.beginPath();
      for (const x of lines.x) { ctx.moveTo(x * zoom, 0); ctx.lineTo(x * zoom, height * zoom); }
      for (const y of lines.y) { ctx.moveTo(0, y * zoom); ctx.lineTo(width * zoom, y * zoom); }
      ctx.stroke();
      ctx.restore();
    }
  }

  /** The query cell: a small square that shows on any colour. */
  function drawCell(ctx, cell, zoom) {
    const least = 5;
    const w = Math.max(least, cell.w * zoom), h = Math.max(least, cell.h * zoom);
    const x = (cell.x + cell.w / 2) * zoom - w / 2, y = (cell.y + cell.h / 2) * zoom - h / 2;
    outline(ctx, { x, y, w, h }, 1, { width: 2, light: "#fff", dark: "#000" });
  }

  /** Black or white, whichever reads better on a colour. @param {string} color #rrggbb */
  function inkOn(color) {
    const part = (i) => {
      const v = parseInt(color.slice(i, i + 2), 16) / 255;
      return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    };
    return 0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5) > 0.179 ? "#000" : "#fff";
  }

  const MARK = { gained: "+ ", lost: "\u2212 ", kept: "" };

  function labelText(box, longest = 28) {
    const name = [...box.name].length > longest ? [...box.name].slice(0, longest - 1).join("") + "\u2026" : box.name;
    return `${MARK[box.status] ?? ""}${name} ${box.conf.toFixed(2)}`;
  }

  const overlap = (a, b) =>
    Math.max(0, Math.min(a.x + a.w, b.x + b.w) - Math.max(a.x, b.x)) * Math.max(0, Math.min(a.y + a.h, b.y + b.h) - Math.max(a.y, b.y));

  /**
   * Places a label at each box that is in view, the strongest first, where it hides least of the labels placed before.
   * @param {(text: string) => number} measure
   * @param {{x: number, y: number, w: number, h: number}} [view] the part of the photo that is shown
   * @returns {Array<{index: number, text: string, x: number, y: number, w: number, h: number}>} CSS pixels from the photo's corner
   */
  function placeLabels(boxes, zoom, width, height, measure, view = { x: 0, y: 0, w: width, h: height }) {
    const placed = [];
    const h = LABEL + 5;
    const left = view.x * zoom, top = view.y * zoom, wide = view.w * zoom, tall = view.h * zoom;
    for (const box of [...boxes].reverse()) {
      const [x1, y1, x2, y2] = box.xyxy.map((v) => v * zoom);
      if (x2 < left || x1 > left + wide || y2 < top || y1 > top + tall) continue;
      let longest = 28;
      let text = labelText(box, longest);
      while (longest > 3 && measure(text) + 8 > wide) text = labelText(box, --longest);
      const w = measure(text) + 8;
      const keep = (x, y) => ({
        x: Math.max(left, Math.min(left + wide - w, x)), y: Math.max(top, Math.min(top + tall - h, y)), w, h,
      });
      const places = [keep(x1 - 1, y1 - h), keep(x1 - 1, y1), keep(x2 - w + 1, y1 - h), keep(x2 - w + 1, y1), keep(x1 - 1, y2), keep(x1 - 1, y2 - h)];
      const cost = (p) => placed.reduce((sum, q) => sum + overlap(p, q), 0);
      let best = places[0], least = cost(best);
      for (const p of places) { const c = cost(p); if (c < least - 0.5) { best = p; least = c; } }
      placed.push({ index: box.index, text, ...best });
    }
    return placed;
  }

  /** Masks: filled below the heat, so that its colours stay those of the colour bar; their outline above it. */
  function drawMasks(ctx, plan, zoom, fill) {
    for (const box of plan.boxes) {
      if (!box.polygon?.length) continue;
      ctx.save();
      ctx.beginPath();
      box.polygon.forEach(([x, y], i) => ctx[i ? "lineTo" : "moveTo"](x * zoom, y * zoom));
      ctx.closePath();
      ctx.globalAlpha = fill ? (box.selected ? 0.42 : 0.3) : 0.95;
      ctx.fillStyle = ctx.strokeStyle = box.color;
      ctx.lineWidth = 1.25;
      if (fill) ctx.fill();
      else ctx.stroke();
      ctx.restore();
    }
  }

  function drawBoxes(ctx, plan, zoom, view) {
    drawMasks(ctx, plan, zoom, false);
    for (const box of plan.boxes) {
      const [x1, y1, x2, y2] = box.xyxy;
      outline(ctx, { x: x1, y: y1, w: x2 - x1, h: y2 - y1 }, zoom, {
        width: (box.status === "gained" ? 2.75 : 2) + (box.selected ? 1 : 0),
        dash: box.status === "lost" ? [7, 5] : [], light: box.color,
        dark: box.selected ? "rgba(255,255,255,.95)" : "rgba(0,0,0,.45)",
      });
    }
    if (!plan.labels) return [];
    ctx.save();
    ctx.font = `600 ${LABEL}px ${FONT}`;
    ctx.textBaseline = "middle";
    const labels = placeLabels(plan.boxes, zoom, plan.width, plan.height, (text) => ctx.measureText(text).width, view);
    for (const box of plan.boxes) {
      const label = labels.find((l) => l.index === box.index);
      if (!label) continue;
      ctx.fillStyle = box.color;
      ctx.fillRect(label.x, label.y, label.w, label.h);
      if (box.selected) { ctx.strokeStyle = "#fff"; ctx.lineWidth = 1.5; ctx.strokeRect(label.x, label.y, label.w, label.h); }
      ctx.fillStyle = inkOn(box.color);
      ctx.fillText(label.text, label.x + 4, label.y + label.h / 2 + 0.5);
    }
    ctx.restore();
    return labels;
  }

  /**
   * One panel: photo, dimming, heat, grid, boxes, outlines, query cell, in this order. The context's origin is the
   * panel's corner.
   * @param {CanvasRenderingContext2D} ctx @param {object} plan from HaloVis.scene.plan
   * @param {object} look
   * @param {CanvasImageSource} look.photo the whole photo, at any size
   * @param {CanvasImageSource} [look.backdrop] the part in view, ready made; taken instead of the photo
   * @param {Uint8Array} look.rgb @param {Uint8Array} [look.diverging] colours of a difference
   * @param {number} look.zoom @param {{x: number, y: number, w: number, h: number}} [look.view] photo pixels; the whole photo
   * @returns {Array<object>} where the labels are, for `hit`, in CSS pixels from the photo's corner
   */
  function panel(ctx, plan, { photo, backdrop = null, rgb, diverging, zoom, view = { x: 0, y: 0, w: plan.width, h: plan.height } }) {
    const w = view.w * zoom, h = view.h * zoom;
    const part = (name) => ctx.part?.(name); // an SVG names its groups
    ctx.save();
    ctx.beginPath();
    ctx.rect(0, 0, w, h);
    ctx.clip();
    part("photo");
    if (backdrop) {
      ctx.imageSmoothingEnabled = false;
      ctx.drawImage(backdrop, 0, 0, w, h);
    } else drawPhoto(ctx, photo, plan, zoom, view);
    if (plan.dimPhoto > 0) {
      ctx.fillStyle = `rgba(0,0,0,${plan.dimPhoto})`;
      ctx.fillRect(0, 0, w, h);
    }
    ctx.translate(-view.x * zoom, -view.y * zoom);
    part("heat");
    drawMasks(ctx, plan, zoom, true);
    if (plan.dim) dimOutside(ctx, plan.dim, plan.width, plan.height, zoom);
    if (plan.heat) drawHeat(ctx, plan.heat, { rgb, diverging }, plan.opacity, zoom);
    part("lines");
    if (plan.lattice) drawLattice(ctx, plan.lattice, plan.width, plan.height, zoom);
    if (plan.window) outline(ctx, plan.window, zoom, { width: 1.5, dash: [6, 4] });
    if (plan.block) outline(ctx, plan.block, zoom, { width: 1.75 });
    if (plan.area) outline(ctx, plan.area, zoom, { width: 1.5, dash: [2, 3] });
    part("boxes");
    const labels = drawBoxes(ctx, plan, zoom, view);
    part("cell");
    if (plan.cell) drawCell(ctx, plan.cell, zoom);
    ctx.restore();
    return labels;
  }

  /**
   * The photo below everything; smoothed only where it is reduced, so that its pixels show when enlarged.
   * @param {boolean} [copy] the source is a reduced copy: its pixels are not the photo's
   */
  function drawPhoto(ctx, photo, { width, height }, zoom, view, copy = false) {
    const own = photo.naturalWidth || photo.width;
    ctx.save();
    ctx.imageSmoothingEnabled = copy || Math.abs(ctx.getTransform().a) * zoom * width < own * 0.999;
    ctx.imageSmoothingQuality = "high";
    ctx.drawImage(photo, -view.x * zoom, -view.y * zoom, width * zoom, height * zoom);
    ctx.restore();
  }

  /**
   * Two plans on one photo: the left one left of a line, the right one right of it.
   * @param {{baseline: object, halo: object}} plans @param {object} look as in `panel` @param {number} share where the line is, 0 to 1
   * @returns {{baseline: object[], halo: object[]}} labels of both
   */
  function curtain(ctx, plans, look, share) {
    const { width, height } = plans.halo;
    const { zoom, view = { x: 0, y: 0, w: width, h: height } } = look;
    const w = view.w * zoom, h = view.h * zoom, at = share * w;
    const half = (plan, x, wide) => {
      ctx.save();
      ctx.beginPath();
      ctx.rect(x, 0, wide, h);
      ctx.clip();
      const labels = panel(ctx, plan, look);
      ctx.restore();
      return labels;
    };
    const labels = { baseline: half(plans.baseline, 0, at), halo: half(plans.halo, at, w - at) };
    ctx.save();
    for (const [line, color] of [[4, "rgba(0,0,0,.55)"], [2, "#fff"]]) {
      ctx.fillStyle = color;
      ctx.fillRect(at - line / 2, 0, line, h);
    }
    ctx.restore();
    return labels;
  }

  /** CSS pixels from a point to the border of a box. */
  function edgeDistance([x1, y1, x2, y2], px, py, zoom) {
    const dx = Math.max(x1 - px, 0, px - x2), dy = Math.max(y1 - py, 0, py - y2);
    if (dx > 0 || dy > 0) return Math.hypot(dx, dy) * zoom;
    return Math.min(px - x1, x2 - px, py - y1, y2 - py) * zoom;
  }

  /**
   * The box that a click at a photo point means: a label, or an edge within reach; -1: none.
   * @param {object[]} boxes @param {object[]} labels @returns {number}
   */
  function hit(boxes, labels, px, py, zoom, reach = 6) {
    const cx = px * zoom, cy = py * zoom;
    const onLabel = [...boxes].reverse().find((b) => labels.some((l) =>
      l.index === b.index && cx >= l.x && cx <= l.x + l.w && cy >= l.y && cy <= l.y + l.h));
    if (onLabel) return onLabel.index;
    let best = -1, least = reach;
    for (const b of boxes) {
      const d = edgeDistance(b.xyxy, px, py, zoom);
      if (d <= least) { least = d; best = b.index; }
    }
    return best;
  }

  const ROOM = 0.05; // below this share of the bar two words would touch

  /**
   * Ticks of the colour bar: 0, 1 = uniform, the end; of a logarithmic one the powers of two, of a difference 0 and both ends.
   * @param {number} max @param {boolean} [auto] @param {{log?: boolean, diverging?: boolean}} [heat]
   * @returns {Array<{at: number, text: string, uniform: boolean}>}
   */
  function ticks(max, auto = false, { log = false, diverging = false } = {}) {
    const text = (v) => (Number.isInteger(v) ? String(v) : Math.abs(v) < 99.5 ? v.toPrecision(2) : v.toFixed(0)).replace("-", "\u2212");
    const last = { at: 1, text: auto ? text(max) : `\u2265 ${text(max)}`, uniform: max === 1 && !diverging };
    if (diverging) {
      const at = (v) => position(v, { max, diverging });
      return [
        { at: 0, text: auto ? text(-max) : `\u2264 ${text(-max)}`, uniform: false },
        ...[-max / 2, 0, max / 2].map((v) => ({ at: at(v), text: text(v), uniform: v === 0 })), last,
      ];
    }
    if (log) {
      const end = Math.max(2, max);
      const marks = [];
      for (let p = -Math.ceil(Math.log2(end)) + 1; p < Math.log2(end); p++) marks.push(p);
      const word = (v) => (v >= 1 ? text(v) : Number.isInteger(1 / v) ? `1/${1 / v}` : text(v));
      return [
        { at: 0, text: auto ? word(1 / end) : `\u2264 ${word(1 / end)}`, uniform: false },
        ...marks.map((p) => ({ p, at: position(2 ** p, { max: end, log }) }))
          .map(({ p, at }) => ({ at, text: at < 2 * ROOM || at > 1 - 2 * ROOM ? "" : word(2 ** p), uniform: p === 0 })),
        { ...last, text: auto ? text(end) : `\u2265 ${text(end)}`, uniform: false },
      ];
    }
    const marks = max >= 2 ? [0, 1] : [0];
    if (!auto) for (const v of [2, 4, 8, 12, 16, 24]) if (v < max) marks.push(v);
    if (max < 2 && max > 1.15) marks.push(1);
    return [...marks.map((v) => ({ at: v / max, text: v > 0 && v / max < ROOM ? "" : text(v), uniform: v === 1 })), last];
  }

  /** A horizontal strip of the colour map. */
  function strip(ctx, rgb, x, y, w, h) {
    const count = rgb.length / 3;
    for (let i = 0; i < count; i++) {
      ctx.fillStyle = `rgb(${rgb[3 * i]},${rgb[3 * i + 1]},${rgb[3 * i + 2]})`;
      ctx.fillRect(x + (i * w) / count, y, w / count + 0.75, h);
    }
  }

  HaloVis.paint = {
    FONT, MARK, colors, sheet, position, colorAt, pixels, panel, curtain, drawPhoto, hit, placeLabels, edgeDistance, ticks, strip, inkOn, labelText,
  };
})();
