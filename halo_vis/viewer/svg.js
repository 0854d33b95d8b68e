// An SVG of what is shown: the photo as a raster, everything else as vectors and text.
// paint.js draws it as it draws the screen, onto a context that writes SVG 1.1 instead of pixels: one picture, not two.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});

  const MOST_PNG = 4e6; // bytes of a photo that is kept without loss; a larger one goes in as JPEG
  const QUALITY = 0.95;
  const MOST = 100e6; // pixels of a canvas
  const OVER = 0.4; // of a CSS pixel

  // ---------------------------------------------------------------- markup

  /** Text inside XML: markup escaped; what XML 1.0 does not allow replaced. */
  const escape = (text) => String(text).replace(/[\p{Cs}\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/gu, "\ufffd")
    .replace(/[&<>\r]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign] ?? "&#13;");
  const quoted = (text) => `"${escape(text).replace(/["\t\n]/g, (sign) => `&#${sign.charCodeAt(0)};`)}"`;

  /** A number without the digits that nobody sees. */
  const num = (value) => String(Number(value.toFixed(3)));

  /** One element. @param {string} name @param {Object<string, string|number|null>} attributes null: left out @param {string} [inside] markup */
  function tag(name, attributes, inside = "") {
    const list = Object.entries(attributes).filter(([, v]) => v !== null && v !== undefined)
      .map(([key, v]) => ` ${key}=${quoted(typeof v === "number" ? num(v) : v)}`).join("");
    return inside ? `<${name}${list}>${inside}</${name}>` : `<${name}${list}/>`;
  }

  /** SVG 1.1 knows no rgba(): colour and opacity are two attributes. */
  function paintOf(which, style, alpha) {
    const parts = /^rgba\(\s*([\d.]+)[\s,]+([\d.]+)[\s,]+([\d.]+)[\s,/]+([\d.]+)\s*\)$/.exec(style);
    const opacity = alpha * (parts ? Number(parts[4]) : 1);
    return { [which]: parts ? `rgb(${parts.slice(1, 4).join(",")})` : style, [`${which}-opacity`]: opacity < 1 ? opacity : null };
  }

  /** Rectangles of a map: cells of a row that follow each other in one colour are one. @returns {Array<[number, number, number, string]>} row, from, to, colour */
  function runs({ values, rows, cols, ...heat }, rgb) {
    const out = [];
    const hex = (at) => `#${[0, 1, 2].map((i) => rgb[3 * at + i].toString(16).padStart(2, "0")).join("")}`;
    for (let row = 0; row < rows; row++) {
      for (let col = 0; col < cols;) {
        const at = HaloVis.paint.colorAt(values[row * cols + col], heat, rgb.length / 3);
        let end = col + 1;
        while (end < cols && Object.is(HaloVis.paint.colorAt(values[row * cols + end], heat, rgb.length / 3), at)) end++;
        if (!Number.isNaN(at)) out.push([row, col, end, hex(at)]);
        col = end;
      }
    }
    return out;
  }

  // ---------------------------------------------------------------- the context

  const STYLE = {
    globalAlpha: 1, fillStyle: "#000", strokeStyle: "#000", lineWidth: 1, dash: [], font: "10px sans-serif", textAlign: "left",
    textBaseline: "alphabetic", imageSmoothingEnabled: true, imageSmoothingQuality: "low",
  };
  const ANCHOR = { left: null, start: null, center: "middle", right: "end", end: "end" };

  /**
   * The part of CanvasRenderingContext2D that paint.js and sheet.js use; moves and scales only, no rotation.
   * Two methods of its own: `part` names a group, `drawMap` takes a map as values instead of as a picture.
   */
  class Pen {
    /**
     * @param {{width: (text: string, font: string) => number, drop: (font: string, baseline: string) => number}} letters
     *   drop: from a text's y to its alphabetic baseline
     * @param {{source: object, width: number, height: number}} photo the one raster, `#photo` in the defs; size in photo pixels
     */
    constructor(letters, photo) {
      Object.assign(this, STYLE, { letters, photo, at: { x: 0, y: 0, sx: 1, sy: 1 }, out: [], defs: [], open: [], stack: [], names: new Map(), d: "" });
    }

    save() {
      this.stack.push({ style: Object.fromEntries(Object.keys(STYLE).map((key) => [key, this[key]])), at: this.at, level: this.open.length });
    }

    restore() {
      const before = this.stack.pop();
      if (!before) return;
      this.close(before.level);
      Object.assign(this, before.style, { at: before.at });
    }

    close(level = 0) {
      while (this.open.length > level) { this.open.pop(); this.out.push("</g>"); }
    }

    group(attributes, name = "") {
      this.out.push(tag("g", attributes, " ").replace(/ <\/g>$/, ""));
      this.open.push(name);
    }

    /** Begins a named group; a named one before it, since the last `save`, ends. */
    part(name) {
      if (this.open.length > (this.stack.at(-1)?.level ?? 0) && this.open.at(-1)) this.close(this.open.length - 1);
      const path = [...this.open.filter(Boolean), name].join("-");
      const count = (this.names.get(path) ?? 0) + 1;
      this.names.set(path, count);
      this.group({ id: count > 1 ? `${path}-${count}` : path }, name);
    }

    translate(x, y) { this.at = { ...this.at, x: this.at.x + x * this.at.sx, y: this.at.y + y * this.at.sy }; }
    scale(x, y) { this.at = { ...this.at, sx: this.at.sx * x, sy: this.at.sy * y }; }
    getTransform() { return { a: this.at.sx, b: 0, c: 0, d: this.at.sy, e: this.at.x, f: this.at.y }; }
    setLineDash(list) { this.dash = [...list]; }
    getLineDash() { return [...this.dash]; }
    measureText(text) { return { width: this.letters.width(text, this.font) }; }

    px(x) { return this.at.x + x * this.at.sx; }
    py(y) { return this.at.y + y * this.at.sy; }
    box(x, y, w, h) { return { x: this.px(x), y: this.py(y), width: w * this.at.sx, height: h * this.at.sy }; }

    beginPath() { this.d = ""; }
    moveTo(x, y) { this.d += `M${num(this.px(x))} ${num(this.py(y))}`; }
    lineTo(x, y) { this.d += `L${num(this.px(x))} ${num(this.py(y))}`; }
    closePath() { this.d += "Z"; }
    rect(x, y, w, h) {
      this.moveTo(x, y);
      this.d += `h${num(w * this.at.sx)}v${num(h * this.at.sy)}h${num(-w * this.at.sx)}Z`;
    }

    clip() {
      const id = `clip${this.defs.length + 1}`;
      this.defs.push(tag("clipPath", { id }, tag("path", { d: this.d })));
      this.group({ "clip-path": `url(#${id})` });
    }

    filled() { return paintOf("fill", this.fillStyle, this.globalAlpha); }

    stroked() {
      const dash = this.dash.length ? this.dash.map((n) => num(n * this.at.sx)).join(",") : null;
      return { fill: "none", ...paintOf("stroke", this.strokeStyle, this.globalAlpha), "stroke-width": this.lineWidth * this.at.sx, "stroke-dasharray": dash };
    }

    fill(rule) { this.out.push(tag("path", { d: this.d, ...this.filled(), "fill-rule": rule === "evenodd" ? rule : null })); }
    stroke() { if (this.d) this.out.push(tag("path", { d: this.d, ...this.stroked() })); }
    fillRect(x, y, w, h) { this.out.push(tag("rect", { ...this.box(x, y, w, h), ...this.filled() })); }
    strokeRect(x, y, w, h) { this.out.push(tag("rect", { ...this.box(x, y, w, h), ...this.stroked() })); }

    fillText(text, x, y) {
      const [, weight, size, family] = /^(?:(\w+)\s+)?([\d.]+)px\s+(.+)$/.exec(this.font);
      const words = String(text);
      if (!words.trim()) return;
      this.out.push(tag("text", {
        x: this.px(x), y: this.py(y + this.letters.drop(this.font, this.textBaseline)), "font-family": family, "font-size": size * this.at.sy,
        "font-weight": weight ?? null, "text-anchor": ANCHOR[this.textAlign], ...this.filled(),
        // Another reader has other fonts: the words keep the room that was measured for them.
        textLength: this.letters.width(words, this.font) * this.at.sx, lengthAdjust: "spacingAndGlyphs", "xml:space": "preserve",
      }, escape(words)));
    }

    drawImage(source, x, y, w, h) {
      if (source !== this.photo.source) throw new Error("an SVG of the explorer holds one raster, the photo");
      const { x: left, y: top, width, height } = this.box(x, y, w, h);
      this.out.push(tag("use", {
        "xlink:href": "#photo", transform: `translate(${num(left)} ${num(top)}) scale(${width / this.photo.width} ${height / this.photo.height})`,
        opacity: this.globalAlpha < 1 ? this.globalAlpha : null,
        ...(this.imageSmoothingEnabled ? {} : { "image-rendering": "optimizeSpeed", style: "image-rendering:pixelated" }),
      }));
    }

    /** @param {object} heat of a plan @param {Uint8Array} rgb */
    drawMap(heat, rgb, opacity, zoom) {
      const { x, y, w, h } = heat.rect;
      const across = (col) => this.px((x + (col * w) / heat.cols) * zoom), down = (row) => this.py((y + (row * h) / heat.rows) * zoom);
      // One opacity for all of it, hard edges, and each rectangle goes on a little below those drawn after it: no seams
      // where they meet, whoever draws them.
      this.group({ opacity, "shape-rendering": "crispEdges" });
      const drawn = (row, col) => row < heat.rows && col < heat.cols && !Number.isNaN(heat.values[row * heat.cols + col]);
      for (const [row, from, to, fill] of runs(heat, rgb)) {
        let below = true;
        for (let col = from; col < to; col++) below &&= drawn(row + 1, col);
        const edges = [across(from), across(to) + (drawn(row, to) ? OVER : 0), down(row), down(row + 1) + (below ? OVER : 0)];
        const [x1, x2, y1, y2] = edges.map((v) => Number(num(v)));
        this.out.push(tag("rect", { x: x1, y: y1, width: x2 - x1, height: y2 - y1, fill }));
      }
      this.close(this.open.length - 1);
    }
  }

  // ---------------------------------------------------------------- the file

  /**
   * The whole file.
   * @param {object} sheet from HaloVis.sheet.layout @param {{rgb: Uint8Array, diverging?: Uint8Array}} look
   * @param {{href: string, region: {x: number, y: number, w: number, h: number}, width: number, height: number}} photo
   *   a data URI of the part `region`; sizes in photo pixels
   * @param {object} about provenance @param {{width: Function, drop: Function}} letters @param {string} name what the file is called for people
   * @returns {string}
   */
  function write(sheet, look, photo, about, letters, name) {
    const source = { naturalWidth: photo.width, naturalHeight: photo.height };
    const pen = new Pen(letters, { source, width: photo.width, height: photo.height });
    HaloVis.sheet.draw(pen, sheet, { ...look, photo: source });
    pen.close();
    const { x, y, w, h } = photo.region;
    const image = tag("image", { id: "photo", x, y, width: w, height: h, preserveAspectRatio: "none", "xlink:href": photo.href });
    const body = [
      tag("title", {}, escape(name)), tag("desc", {}, escape(sheet.paragraphs(1).join("\n"))),
      tag("metadata", { id: "halo_vis" }, escape(JSON.stringify(about))), tag("defs", {}, [image, ...pen.defs].join("\n")),
      tag("rect", { width: sheet.width, height: sheet.height, fill: "#fff" }), ...pen.out,
    ];
    return `<?xml version="1.0" encoding="UTF-8"?>\n${tag("svg", {
      xmlns: "http://www.w3.org/2000/svg", "xmlns:xlink": "http://www.w3.org/1999/xlink", version: "1.1",
      width: sheet.width, height: sheet.height, viewBox: `0 0 ${num(sheet.width)} ${num(sheet.height)}`,
    }, `\n${body.join("\n")}\n`)}\n`;
  }

  /** @param {Blob} blob @returns {Promise<string>} */
  const dataURI = (blob) => new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });

  /** The shown part of the photo at its own resolution; nothing of it that is not shown. */
  async function embed(data, region, lang) {
    const { frame } = data;
    const { canvas, finer } = await HaloVis.save.withPhoto(data, (photo) => {
      const own = (photo.naturalWidth || photo.width) / frame.width; // 1, unless the page got a smaller copy
      const finer = Math.min(own, Math.sqrt(MOST / (region.w * region.h)));
      const made = HaloVis.save.canvasOf(lang, Math.round(region.w * finer), Math.round(region.h * finer));
      made.ctx.drawImage(photo, -region.x * finer, -region.y * finer, frame.width * finer, frame.height * finer);
      return { ...made, finer };
    });
    let format = "png";
    let blob = await HaloVis.save.blobOf(canvas, lang, "image/png");
    if (blob.size > MOST_PNG) {
      format = `jpeg ${QUALITY}`;
      blob = await HaloVis.save.blobOf(canvas, lang, "image/jpeg", QUALITY);
    }
    canvas.width = canvas.height = 0; // give the memory back at once
    return { href: await dataURI(blob), region, width: frame.width, height: frame.height, about: { format, scale: finer } };
  }

  /** Sizes of letters, from the browser. */
  function lettering() {
    const ctx = HaloVis.paint.sheet(1, 1).getContext("2d");
    const measure = HaloVis.sheet.measurer();
    const ascent = (baseline) => Object.assign(ctx, { textBaseline: baseline }).measureText("M").actualBoundingBoxAscent;
    return {
      width: measure,
      drop(font, baseline) {
        ctx.font = font;
        return baseline === "alphabetic" ? 0 : ascent("alphabetic") - ascent(baseline);
      },
    };
  }

  /** @returns {Promise<Blob>} as HaloVis.save.png */
  async function make(data, state, lang, { hashed = false, ...look }) {
    await HaloVis.scene.finish(data, state);
    const letters = lettering();
    const sheet = HaloVis.sheet.layout(data, state, lang, letters.width, { hashed });
    const photo = await embed(data, sheet.view, lang);
    const about = { ...HaloVis.provenance.of(data, state, [sheet.plans.baseline, sheet.plans.halo]), photo: photo.about };
    const text = write(sheet, look, photo, about, letters, data.meta.picture.name);
    return new Blob([text], { type: "image/svg+xml" });
  }

  HaloVis.svg = { make, write, escape, tag, runs, Pen };
})();
