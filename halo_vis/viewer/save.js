// A PNG of what is shown: both panels at the photo's full resolution, colour bars, caption.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});

  const LONGEST = 16384;
  const MOST = 100e6;
  const LOOK = 900; // a panel is laid out as if its longer side were this many CSS pixels
  const GAP = 16, MARGIN = 16, HEAD = 30, BAR = 44, LINE = 19, FONT_SIZE = 14;

  /** Letters, digits, dot, dash and underscore of any script. @param {string} text */
  const safe = (text) => String(text).normalize("NFC").replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^[-.]+|[-.]+$/g, "").slice(0, 80);

  /** bus_photos_P4_mean_cell.png @returns {string} */
  function fileName(data, state) {
    const { picture, pair } = data.meta;
    const now = HaloVis.scene.settle(data, state);
    const stem = safe(String(picture.name).replace(/^.*[\\/]/, "").replace(/\.[A-Za-z0-9]{1,5}$/, "")) || "picture";
    const parts = [stem, safe(pair?.name ?? "pair") || "pair", state.level, now.head < 0 ? "mean" : `head${now.head + 1}`, now.view];
    if (now.of === "contribution") parts.push("contribution");
    return `${parts.join("_")}.png`;
  }

  /** What a panel shows, in words. */
  function what(lang, plan) {
    if (!plan.heat) return HaloVis.say(lang, "noAttention");
    const say = (key, values) => HaloVis.say(lang, key, values);
    const view = say({ cell: "viewCellName", blocks: "viewBlocksName", received: "viewReceivedName" }[plan.view]);
    const parts = [say(plan.layer.name), HaloVis.readout.headName(lang, plan.head)];
    parts.push(plan.view === "cell" ? `${view} (${plan.y}, ${plan.x})` : view);
    if (plan.layer.kind === "halo") parts.push(say(plan.of === "weight" ? "weights" : "contributions"));
    const max = Number.isInteger(plan.heat.max) ? plan.heat.max : plan.heat.max.toPrecision(3);
    parts.push(say(plan.heat.auto ? "scaleAutoTo" : "scaleTo", { n: max }));
    return parts.join(", ");
  }

  /** @returns {string[]} paragraphs of the caption */
  function caption(lang, data, plans, badges, reduction) {
    const { picture, pair = {}, settings = {} } = data.meta;
    const say = (key, values) => HaloVis.say(lang, key, values);
    const run = [];
    if (settings.imgsz) run.push(say("imgsz", { n: [].concat(settings.imgsz).join(" \u00d7 ") }));
    if (settings.conf !== undefined) run.push(say("conf", { n: settings.conf }));
    if (settings.head) run.push(String(settings.head));
    if (settings.device) run.push(String(settings.device));
    if (reduction < 1) run.push(say("reduced", { n: Math.round(100 * reduction) }));
    return [
      [picture.name, pair.title ?? pair.name, run.join(", ")].filter(Boolean).join(" \u00b7 "),
      ...plans.map((p) => say("caption", { model: pair[p.side] ?? say(p.side), what: what(lang, p) })),
      ...(badges.length ? [badges.map((key) => say(key)).join("; ")] : []),
    ];
  }

  /** Breaks a paragraph into lines; text without spaces breaks anywhere. */
  function wrap(ctx, text, width) {
    const lines = [];
    let line = "";
    for (const piece of text.match(/[\u2e80-\uffef]|\s+|[^\s\u2e80-\uffef]+/gu) ?? []) {
      if (ctx.measureText(line + piece).width <= width) { line += piece; continue; }
      if (line.trim()) lines.push(line.trim());
      line = piece.trimStart();
      while (ctx.measureText(line).width > width && line.length > 1) {
        let n = line.length - 1;
        while (n > 1 && ctx.measureText(line.slice(0, n)).width > width) n--;
        lines.push(line.slice(0, n));
        line = line.slice(n);
      }
    }
    if (line.trim()) lines.push(line.trim());
    return lines;
  }

  /** Colour bar below a panel. */
  function bar(ctx, lang, heat, rgb, x, y, width) {
    const ticks = HaloVis.paint.ticks(heat.max, heat.auto);
    ctx.save();
    ctx.font = `${FONT_SIZE - 2}px ${HaloVis.paint.FONT}`;
    const unit = `${HaloVis.say(lang, "barTitle")} (${HaloVis.say(lang, heat.auto ? "barAuto" : "barUniform")})`;
    const long = Math.max(60, width - ctx.measureText(unit).width - 14);
    HaloVis.paint.strip(ctx, rgb, x, y, long, 12);
    ctx.fillStyle = "#1f2328";
    ctx.textBaseline = "top";
    ticks.forEach((tick, i) => {
      const at = x + tick.at * long;
      if (tick.uniform) {
        ctx.fillStyle = "#fff";
        ctx.fillRect(at - 1, y, 2, 12);
        ctx.fillStyle = "#1f2328";
      }
      ctx.fillRect(at - (tick.uniform ? 1 : 0.5), y + 12, tick.uniform ? 2 : 1, 5);
      ctx.textAlign = i === 0 ? "left" : i === ticks.length - 1 ? "right" : "center";
      ctx.fillText(tick.text, at, y + 19);
    });
    ctx.textAlign = "left";
    ctx.fillText(unit, x + long + 14, y);
    ctx.restore();
  }

  /**
   * @param {object} data @param {object} state @param {string} lang @param {Uint8Array} rgb
   * @returns {Promise<Blob>}
   */
  function render(data, state, lang, rgb) {
    const { frame, image } = data;
    const zoom = LOOK / Math.max(frame.width, frame.height);
    const panelWidth = frame.width * zoom, panelHeight = frame.height * zoom;
    // Narrow pictures still need room for the words: a column is never narrower than this.
    const column = Math.max(panelWidth, 360);
    const plans = [HaloVis.scene.plan(data, state, "baseline"), HaloVis.scene.plan(data, state, "halo")];
    const badges = HaloVis.scene.badges(data, state, HaloVis.scene.numbers(data, state));
    const width = 2 * MARGIN + 2 * column + GAP;
    const probe = HaloVis.paint.sheet(1, 1).getContext("2d");
    probe.font = `${FONT_SIZE}px ${HaloVis.paint.FONT}`;
    const write = (reduction) => caption(lang, data, plans, badges, reduction).flatMap((p) => wrap(probe, p, width - 2 * MARGIN));
    const heads = plans.map((p) => wrap(Object.assign(probe, { font: `600 ${FONT_SIZE + 1}px ${HaloVis.paint.FONT}` }),
      data.meta.pair?.[p.side] ?? HaloVis.say(lang, p.side), column));
    probe.font = `${FONT_SIZE}px ${HaloVis.paint.FONT}`;
    const head = HEAD + (Math.max(heads[0].length, heads[1].length) - 1) * LINE;
    const room = write(0.5).length * LINE;
    const height = MARGIN + head + panelHeight + BAR + room + MARGIN;

    const whole = Math.max(1, Math.ceil(zoom - 1e-9)); // small photos are enlarged by a whole factor, so that words stay legible
    let ratio = whole / zoom;
    const fit = Math.min(1, LONGEST / (width * ratio), LONGEST / (height * ratio), Math.sqrt(MOST / (width * height * ratio * ratio)));
    ratio *= fit;
    const canvas = Object.assign(document.createElement("canvas"), { width: Math.floor(width * ratio), height: Math.floor(height * ratio) });
    const ctx = canvas.getContext("2d");
    if (!ctx) return Promise.reject(new Error("no 2D canvas of this size"));
    ctx.fillStyle = "#fff";
    ctx.fillRect(0, 0, canvas.width, canvas.height);
    ctx.scale(ratio, ratio);
    plans.forEach((plan, i) => {
      const x = MARGIN + i * (column + GAP);
      ctx.fillStyle = "#1f2328";
      ctx.font = `600 ${FONT_SIZE + 1}px ${HaloVis.paint.FONT}`;
      ctx.textBaseline = "alphabetic";
      heads[i].forEach((line, n) => ctx.fillText(line, x, MARGIN + 17 + n * LINE));
      // The photo begins on a whole pixel of the file, so that at full resolution its pixels are kept as they are.
      const left = Math.round(x * ratio) / ratio, top = Math.round((MARGIN + head) * ratio) / ratio;
      ctx.save();
      ctx.translate(left, top);
      HaloVis.paint.panel(ctx, plan, { photo: image, rgb, zoom });
      ctx.restore();
      if (plan.heat) bar(ctx, lang, plan.heat, rgb, x, MARGIN + head + panelHeight + 8, column);
    });
    ctx.fillStyle = "#1f2328";
    ctx.font = `${FONT_SIZE}px ${HaloVis.paint.FONT}`;
    ctx.textBaseline = "alphabetic";
    write(whole * fit).forEach((line, n) => ctx.fillText(line, MARGIN, MARGIN + head + panelHeight + BAR + 15 + n * LINE));
    return new Promise((resolve, reject) => canvas.toBlob((blob) => {
      canvas.width = canvas.height = 0; // give the memory back at once
      if (blob) resolve(blob);
      else reject(new Error("the browser could not write the PNG"));
    }, "image/png"));
  }

  HaloVis.save = { render, fileName, caption, safe, wrap };
})();
