// The picture that leaves the viewer: titles, both panels, colour bars, small views, caption.
// Laid out once in CSS pixels; PNG, SVG and film draw the same sheet, each onto a context of its own.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});

  const GAP = 16, MARGIN = 16, HEAD = 30, LINE = 19, FONT_SIZE = 14, STRIP = 12;
  const COLUMN = 360; // narrow pictures still need room for the words
  const THUMB = { least: 110, most: 200, gap: 10, title: 20 };
  const INK = "#1f2328";
  const font = (size, weight = "") => `${weight ? `${weight} ` : ""}${size}px ${HaloVis.paint.FONT}`;

  /** @typedef {(text: string, font: string) => number} Measure width in CSS pixels */

  /** @returns {Measure} */
  function measurer() {
    const ctx = HaloVis.paint.sheet(1, 1).getContext("2d");
    return (text, face) => {
      if (ctx.font !== face) ctx.font = face;
      return ctx.measureText(text).width;
    };
  }

  /** Breaks a paragraph into lines; text without spaces breaks anywhere. @param {(text: string) => number} measure */
  function wrap(measure, text, width) {
    const lines = [];
    let line = "";
    for (const piece of text.match(/[\u2e80-\uffef]|\s+|[^\s\u2e80-\uffef]+/gu) ?? []) {
      if (measure(line + piece) <= width) { line += piece; continue; }
      if (line.trim()) lines.push(line.trim());
      line = piece.trimStart();
      while (measure(line) > width && [...line].length > 1) {
        const signs = [...line];
        let n = signs.length - 1;
        while (n > 1 && measure(signs.slice(0, n).join("")) > width) n--;
        lines.push(signs.slice(0, n).join(""));
        line = signs.slice(n).join("");
      }
    }
    if (line.trim()) lines.push(line.trim());
    return lines;
  }

  /** As much of a text as fits on one line. */
  function fit(measure, text, width) {
    const signs = [...text.replace(/\s+/g, " ")];
    if (measure(signs.join("")) <= width) return signs.join("");
    while (signs.length > 1 && measure(`${signs.join("")}\u2026`) > width) signs.pop();
    return `${signs.join("")}\u2026`;
  }

  /** The part of the photo that is shown; for a still in whole pixels, so that none of them is cut. */
  function part({ frame: { width, height } }, { zoom }, whole) {
    if (!zoom || zoom.scale <= 1) return { x: 0, y: 0, w: width, h: height };
    const seen = HaloVis.zoom.visible({ width, height }, HaloVis.zoom.limit({ width, height }, zoom));
    if (!whole) return seen;
    const x = Math.max(0, Math.floor(seen.x + 1e-6)), y = Math.max(0, Math.floor(seen.y + 1e-6));
    return { x, y, w: Math.min(width, Math.ceil(seen.x + seen.w - 1e-6)) - x, h: Math.min(height, Math.ceil(seen.y + seen.h - 1e-6)) - y };
  }

  // ---------------------------------------------------------------- words

  /** Name of what a panel shows: a model, or what stands in for one. */
  function titleOf(lang, data, { title, side }) {
    return title ? HaloVis.say(lang, title.key, title.values) : data.meta.pair?.[side] ?? HaloVis.say(lang, side);
  }

  /** What a panel shows, in words. */
  function what(lang, plan) {
    const { heat, layer } = plan;
    if (!heat) return HaloVis.say(lang, "noAttention");
    const say = (key, values) => HaloVis.say(lang, key, values);
    const { VIEWS, OF, layerName, headName } = HaloVis.readout;
    const parts = [layerName(lang, layer.name), headName(lang, plan.head, layer.heads)];
    parts.push(["cell", "to"].includes(plan.view) ? `${say(VIEWS[plan.view])} (${plan.y}, ${plan.x})` : say(VIEWS[plan.view]));
    if (layer.kind === "halo") parts.push(say(OF[plan.of]));
    const n = Number(heat.max.toPrecision(3));
    parts.push(say(`scale${heat.diverging ? "Difference" : heat.log ? "Log" : ""}${heat.auto ? "AutoTo" : "To"}`, { n }));
    return parts.join(", ");
  }

  /** Short forms of the hashes that tell weights and picture. */
  function hashes(lang, data) {
    const { halo_vis: version, weights, picture_sha256: picture } = data.meta.provenance;
    const short = (value) => String(value).slice(0, 8) || "\u2013"; // weights of unknown origin have none
    const all = Object.entries(weights).map(([who, value]) => `${who} ${short(value)}`).join(", ");
    return HaloVis.say(lang, "captionHashes", { version, weights: all || "\u2013", picture: short(picture) });
  }

  /**
   * @param {object[]} plans what the panels show @param {string[]} badges
   * @param {{reduction?: number, seen?: object, hashed?: boolean}} more seen: the part of the photo, where it is not all of it
   * @returns {string[]} paragraphs of the caption
   */
  function caption(lang, data, plans, badges, { reduction = 1, seen = null, hashed = false } = {}) {
    const { picture, pair = {}, settings = {} } = data.meta;
    const say = (key, values) => HaloVis.say(lang, key, values);
    const run = [];
    if (settings.imgsz) run.push(say("imgsz", { n: [].concat(settings.imgsz).join(" \u00d7 ") }));
    if (settings.conf !== undefined) run.push(say("conf", { n: settings.conf }));
    if (settings.head) run.push(String(settings.head));
    if (settings.device) run.push(String(settings.device));
    if (reduction < 1) run.push(say("reduced", { n: Math.round(100 * reduction) }));
    if (seen) run.push(say("captionPart", { x1: seen.x, y1: seen.y, x2: seen.x + seen.w, y2: seen.y + seen.h }));
    return [
      [picture.name, pair.title ?? pair.name, run.join(", ")].filter(Boolean).join(" \u00b7 "),
      ...plans.map((plan) => say("caption", { model: titleOf(lang, data, plan), what: what(lang, plan) })),
      ...(badges.length ? [badges.map((key) => say(key)).join("; ")] : []),
      ...(hashed ? [hashes(lang, data)] : []),
    ];
  }

  /** One line for a film: picture, then what the halo panel shows. */
  const brief = (lang, data, plan) => `${data.meta.picture.name} \u00b7 ${what(lang, plan)}`;

  // ---------------------------------------------------------------- layout

  /** Where the small views go: rows of equal boxes. */
  function thumbRows(thumbs, width) {
    if (!thumbs.length) return { thumbs: [], height: 0 };
    const across = Math.max(1, Math.min(thumbs.length, Math.floor((width + THUMB.gap) / (THUMB.least + THUMB.gap))));
    const side = Math.min(THUMB.most, (width - (across - 1) * THUMB.gap) / across);
    const tall = Math.max(...thumbs.map(({ crop }) => (side * crop.h) / Math.max(crop.w, crop.h)));
    const row = THUMB.title + tall + THUMB.gap;
    return {
      thumbs: thumbs.map((thumb, n) => ({
        ...thumb, x: (n % across) * (side + THUMB.gap), y: Math.floor(n / across) * row, side,
        zoom: side / Math.max(thumb.crop.w, thumb.crop.h),
      })),
      height: Math.ceil(thumbs.length / across) * row,
    };
  }

  /** One bar would say the same as the other. */
  const sameScale = (a, b) => a.max === b.max && ["auto", "log", "diverging"].every((key) => Boolean(a[key]) === Boolean(b[key]));

  /** Colour bars: one below each panel; below a slider one for both halves where they agree, else one for each. */
  function barsOf({ baseline: { heat: left }, halo: { heat: right } }, one, column, measure, lang) {
    const w = one ? (column - GAP) / 2 : column;
    let list = [{ heat: left, x: 0, w }, { heat: right, x: w + GAP, w }];
    if (one && (!left || !right || sameScale(left, right))) list = [{ heat: right ?? left, x: 0, w: column }];
    return list.filter((bar) => bar.heat).map((bar) => {
      const text = HaloVis.readout.unit(lang, bar.heat);
      const beside = bar.w - measure(text, font(FONT_SIZE - 2)) - 14;
      return beside >= 150 ? { ...bar, text, long: beside, below: false, height: 44 } : { ...bar, text, long: bar.w, below: true, height: 60 };
    });
  }

  /**
   * @param {object} data @param {object} state @param {string} lang @param {Measure} measure
   * @param {{long?: number, film?: boolean, hashed?: boolean}} [options] long: the longer side of a panel in CSS pixels;
   *   film: a line of caption, or two, and a size that does not depend on what is shown
   */
  function layout(data, state, lang, measure, { long = 900, film = false, hashed = false } = {}) {
    const { scene } = HaloVis;
    const plans = { baseline: scene.plan(data, state, "baseline"), halo: scene.plan(data, state, "halo") };
    const view = part(data, state, !film);
    const zoom = long / Math.max(view.w, view.h);
    const one = state.mode === "slider";
    const w = view.w * zoom, h = view.h * zoom, column = Math.max(w, COLUMN);
    const inner = one ? column : 2 * column + GAP;
    const titleFont = font(FONT_SIZE + 1, "600"), textFont = font(FONT_SIZE);
    const titleWidth = one ? (column - GAP) / 2 : column;
    const titles = scene.SIDES.map((side, i) => {
      const text = titleOf(lang, data, plans[side]);
      const words = (t) => measure(t, titleFont);
      return {
        x: one ? i * column : i * (column + GAP), right: one && i === 1,
        lines: film ? [fit(words, text, titleWidth)] : wrap(words, text, titleWidth),
      };
    });
    const top = MARGIN + HEAD + (Math.max(...titles.map((t) => t.lines.length), 1) - 1) * LINE;
    const bars = barsOf(plans, one, column, measure, lang);
    const barRoom = film ? 60 : Math.max(44, ...bars.map((bar) => bar.height));
    const strip = film ? thumbRows([], inner) : thumbRows(scene.thumbs(data, state), inner);
    const badges = film ? [] : scene.badges(data, state, scene.numbers(data, state, plans.halo.view === "cell" ? plans.halo.weights : null));
    const seen = view.w < data.frame.width || view.h < data.frame.height ? view : null;
    const shown = [plans.baseline, plans.halo];
    const words = (t) => measure(t, textFont);
    /** @param {number} reduction of the photo in the file @returns {string[]} */
    const paragraphs = (reduction) => (film
      ? [brief(lang, data, plans.halo), ...(hashed ? [hashes(lang, data)] : [])].map((line) => fit(words, line, inner))
      : caption(lang, data, shown, badges, { reduction, seen, hashed }));
    const lines = (reduction) => paragraphs(reduction).flatMap((p) => wrap(words, p, inner));
    const thumbTop = top + h + barRoom;
    const textTop = thumbTop + strip.height;
    return {
      width: 2 * MARGIN + inner, height: textTop + lines(0.5).length * LINE + MARGIN,
      plans, view, zoom, w, h, one, share: state.curtain ?? 0.5, left: MARGIN, top, titles, bars, barTop: top + h + 8,
      panels: one ? [{ name: "slider", x: 0 }] : [{ name: "baseline", x: 0 }, { name: "halo", x: column + GAP }],
      thumbs: strip.thumbs, thumbTop, textTop, paragraphs, lines, lang,
    };
  }

  // ---------------------------------------------------------------- drawing

  /** @param {CanvasRenderingContext2D} ctx */
  function drawBar(ctx, bar, { rgb, diverging = rgb }, x, y) {
    const { heat, long } = bar;
    const ticks = HaloVis.paint.ticks(heat.max, heat.auto, heat);
    ctx.save();
    ctx.font = font(FONT_SIZE - 2);
    HaloVis.paint.strip(ctx, heat.diverging ? diverging : rgb, x, y, long, STRIP);
    ctx.textBaseline = "top";
    ticks.forEach((tick, i) => {
      const at = x + tick.at * long;
      if (tick.uniform) {
        ctx.fillStyle = heat.diverging ? INK : "#fff"; // the middle of a diverging bar is white itself
        ctx.fillRect(at - 1, y, 2, STRIP);
      }
      ctx.fillStyle = INK;
      ctx.fillRect(at - (tick.uniform ? 1 : 0.5), y + STRIP, tick.uniform ? 2 : 1, 5);
      ctx.textAlign = i === 0 ? "left" : i === ticks.length - 1 ? "right" : "center";
      if (tick.text) ctx.fillText(tick.text, at, y + STRIP + 7);
    });
    ctx.textAlign = "left";
    if (bar.below) ctx.fillText(bar.text, x, y + STRIP + 24);
    else ctx.fillText(bar.text, x + long + 14, y);
    ctx.restore();
  }

  function drawThumb(ctx, thumb, look, x, y, lang) {
    const { crop, zoom, plan, chosen, side } = thumb;
    const { name } = HaloVis.strip.wordsOf(lang, thumb);
    ctx.fillStyle = INK;
    ctx.font = font(FONT_SIZE - 2, chosen ? "600" : "");
    ctx.textBaseline = "alphabetic";
    ctx.fillText(fit((t) => ctx.measureText(t).width, name, side), x, y + 14);
    ctx.save();
    ctx.translate(x, y + THUMB.title);
    HaloVis.paint.panel(ctx, plan, { ...look, zoom, view: crop });
    if (chosen) {
      ctx.strokeStyle = INK;
      ctx.lineWidth = 2;
      ctx.strokeRect(-1, -1, crop.w * zoom + 2, crop.h * zoom + 2);
    }
    ctx.restore();
  }

  /**
   * @param {CanvasRenderingContext2D} ctx its unit is a CSS pixel of the sheet; `ctx.part`, if there, is told what comes
   * @param {object} sheet from `layout` @param {{photo: CanvasImageSource, rgb: Uint8Array, diverging?: Uint8Array}} look
   * @param {{ratio?: number, reduction?: number}} [file] ratio: pixels of the file per CSS pixel
   */
  function draw(ctx, sheet, look, { ratio = 1, reduction = 1 } = {}) {
    const { left, top, plans, view, zoom, lang } = sheet;
    ctx.save();
    ctx.part?.("titles");
    ctx.fillStyle = INK;
    ctx.font = font(FONT_SIZE + 1, "600");
    ctx.textBaseline = "alphabetic";
    for (const title of sheet.titles) {
      ctx.textAlign = title.right ? "right" : "left";
      title.lines.forEach((line, n) => ctx.fillText(line, left + title.x, MARGIN + 17 + n * LINE));
    }
    ctx.textAlign = "left";
    for (const { name, x } of sheet.panels) {
      ctx.part?.(name);
      ctx.save();
      // The photo begins on a whole pixel of the file, so that at full resolution its pixels are kept as they are.
      ctx.translate(Math.round((left + x) * ratio) / ratio, Math.round(top * ratio) / ratio);
      if (sheet.one) HaloVis.paint.curtain(ctx, plans, { ...look, zoom, view }, sheet.share);
      else HaloVis.paint.panel(ctx, plans[name], { ...look, zoom, view });
      ctx.restore();
    }
    ctx.part?.("bars");
    for (const bar of sheet.bars) drawBar(ctx, bar, look, left + bar.x, sheet.barTop);
    if (sheet.thumbs.length) ctx.part?.("thumbs");
    for (const thumb of sheet.thumbs) drawThumb(ctx, thumb, look, left + thumb.x, sheet.thumbTop + thumb.y, lang);
    ctx.part?.("caption");
    ctx.fillStyle = INK;
    ctx.font = font(FONT_SIZE);
    ctx.textBaseline = "alphabetic";
    sheet.lines(reduction).forEach((line, n) => ctx.fillText(line, left, sheet.textTop + 15 + n * LINE));
    ctx.restore();
  }

  HaloVis.sheet = { measurer, layout, draw, caption, brief, what, titleOf, wrap, part };
})();
