// Drawing onto a given 2D context, and the geometry of what was drawn. No state.
// One unit of the context is one CSS pixel; `zoom` is CSS pixels per photo pixel; the origin is the photo's corner.
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

  /** @param {number} width @param {number} height */
  function sheet(width, height) {
    if (typeof OffscreenCanvas === "function") return new OffscreenCanvas(width, height);
    return Object.assign(document.createElement("canvas"), { width, height });
  }

  /** RGBA bytes of a map; NaN is transparent, values from max on take the last colour. */
  function pixels(values, max, rgb, out = new Uint8ClampedArray(values.length * 4)) {
    for (let n = 0; n < values.length; n++) {
      const v = values[n];
      if (Number.isNaN(v)) { out[4 * n + 3] = 0; continue; }
      const c = 3 * Math.max(0, Math.min(255, Math.floor((v / max) * 256)));
      out[4 * n] = rgb[c];
      out[4 * n + 1] = rgb[c + 1];
      out[4 * n + 2] = rgb[c + 2];
      out[4 * n + 3] = 255;
    }
    return out;
  }

  /** @param {CanvasRenderingContext2D} ctx @param {object} heat @param {Uint8Array} rgb */
  function drawHeat(ctx, heat, rgb, opacity, zoom) {
    const small = sheet(heat.cols, heat.rows);
    const target = small.getContext("2d");
    const image = target.createImageData(heat.cols, heat.rows);
    pixels(heat.values, heat.max, rgb, image.data);
    target.putImageData(image, 0, 0);
    ctx.save();
    ctx.globalAlpha = opacity;
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
   * Places a label at each box, the strongest first, where it hides least of the labels placed before.
   * @param {(text: string) => number} measure @returns {Array<{index: number, text: string, x: number, y: number, w: number, h: number}>}
   */
  function placeLabels(boxes, zoom, width, height, measure) {
    const placed = [];
    const h = LABEL + 5;
    for (const box of [...boxes].reverse()) {
      let longest = 28;
      let text = labelText(box, longest);
      while (longest > 3 && measure(text) + 8 > width * zoom) text = labelText(box, --longest);
      const w = measure(text) + 8;
      const [x1, y1, x2, y2] = box.xyxy.map((v) => v * zoom);
      const keep = (x, y) => ({
        x: Math.max(0, Math.min(width * zoom - w, x)), y: Math.max(0, Math.min(height * zoom - h, y)), w, h,
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

  function drawBoxes(ctx, plan, zoom) {
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
    const labels = placeLabels(plan.boxes, zoom, plan.width, plan.height, (text) => ctx.measureText(text).width);
    for (const box of plan.boxes) {
      const label = labels.find((l) => l.index === box.index);
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
   * One panel: photo, dimming, heat, grid, boxes, outlines, query cell, in this order.
   * @param {CanvasRenderingContext2D} ctx @param {object} plan from HaloVis.scene.plan
   * @param {{photo: CanvasImageSource, rgb: Uint8Array, zoom: number}} look
   * @returns {Array<object>} where the labels are, for `hit`
   */
  function panel(ctx, plan, { photo, rgb, zoom }) {
    const w = plan.width * zoom, h = plan.height * zoom;
    ctx.save();
    ctx.beginPath();
    ctx.rect(0, 0, w, h);
    ctx.clip();
    ctx.imageSmoothingEnabled = true;
    ctx.imageSmoothingQuality = "high";
    ctx.drawImage(photo, 0, 0, w, h);
    drawMasks(ctx, plan, zoom, true);
    if (plan.dim) dimOutside(ctx, plan.dim, plan.width, plan.height, zoom);
    if (plan.heat) drawHeat(ctx, plan.heat, rgb, plan.opacity, zoom);
    if (plan.lattice) drawLattice(ctx, plan.lattice, plan.width, plan.height, zoom);
    if (plan.window) outline(ctx, plan.window, zoom, { width: 1.5, dash: [6, 4] });
    if (plan.block) outline(ctx, plan.block, zoom, { width: 1.75 });
    const labels = drawBoxes(ctx, plan, zoom);
    if (plan.cell) drawCell(ctx, plan.cell, zoom);
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

  /** Photo pixels under a pointer. @returns {{px: number, py: number, zoom: number}} */
  function under(event, canvas, { width, height }) {
    const rect = canvas.getBoundingClientRect();
    const inside = (share, size) => Math.min(size - 1e-6, Math.max(0, share * size));
    return {
      px: inside((event.clientX - rect.left) / rect.width, width),
      py: inside((event.clientY - rect.top) / rect.height, height), zoom: rect.width / width,
    };
  }

  /** Ticks of the colour bar: 0, 1 = uniform, the end. @returns {Array<{at: number, text: string, uniform: boolean}>} */
  function ticks(max, auto = false) {
    const text = (v) => (Number.isInteger(v) ? String(v) : v.toPrecision(2));
    const marks = max >= 2 ? [0, 1] : [0];
    if (!auto) for (const v of [2, 4, 8, 12, 16, 24]) if (v < max) marks.push(v);
    if (max < 2 && max > 1.15) marks.push(1);
    const room = 0.05; // below this share of the bar two words would touch
    return [
      ...marks.map((v) => ({ at: v / max, text: v > 0 && v / max < room ? "" : text(v), uniform: v === 1 })),
      { at: 1, text: auto ? text(max) : `\u2265 ${text(max)}`, uniform: max === 1 },
    ];
  }

  /** A horizontal strip of the colour map. */
  function strip(ctx, rgb, x, y, w, h) {
    const count = rgb.length / 3;
    for (let i = 0; i < count; i++) {
      ctx.fillStyle = `rgb(${rgb[3 * i]},${rgb[3 * i + 1]},${rgb[3 * i + 2]})`;
      ctx.fillRect(x + (i * w) / count, y, w / count + 0.75, h);
    }
  }

  HaloVis.paint = { FONT, colors, sheet, pixels, panel, hit, under, placeLabels, edgeDistance, ticks, strip, inkOn, labelText };
})();
