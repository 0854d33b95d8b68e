// A PNG of what is shown, at the photo's full resolution; file names; text in a PNG.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});

  const LONGEST = 16384;
  const MOST = 100e6;

  // ---------------------------------------------------------------- names

  /** Letters, digits, dot, dash and underscore of any script. @param {string} text */
  const safe = (text) => [...String(text).normalize("NFC").replace(/[^\p{L}\p{M}\p{N}._-]+/gu, "-").replace(/\.{2,}/g, ".")]
    .slice(0, 60).join("").replace(/^[-.]+|[-.]+$/g, "");

  /** bus_photos_P4_mean_cell.png @param {object} data @param {object} state @param {string} [ext] @returns {string} */
  function fileName(data, state, ext = "png") {
    const { picture, pair } = data.meta;
    const now = HaloVis.scene.settle(data, state);
    const stem = safe(String(picture.name).replace(/^.*[\\/]/s, "").replace(/\.[A-Za-z0-9]{1,5}$/, "")) || "picture";
    const head = { [-1]: "mean", [-2]: "max" }[now.head] ?? `head${now.head + 1}`;
    const parts = [stem, safe(pair?.name ?? "pair") || "pair", safe(state.level), head, now.view];
    if (now.of !== "weight") parts.push(now.of);
    if (state.mode === "difference") parts.push(state.mode);
    return `${parts.join("_")}.${ext}`;
  }

  // ---------------------------------------------------------------- text in a PNG

  /** @type {Uint32Array|null} */
  let table = null;

  /** CRC of ISO 3309, as PNG has it. @param {Uint8Array} bytes */
  function crc(bytes) {
    table ??= Uint32Array.from({ length: 256 }, (_, n) => {
      let c = n;
      for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
      return c;
    });
    let c = 0xffffffff;
    for (const byte of bytes) c = table[(c ^ byte) & 255] ^ (c >>> 8);
    return (c ^ 0xffffffff) >>> 0;
  }

  /** A chunk: length, type, content, CRC of type and content. @param {string} type @param {Uint8Array} content */
  function chunk(type, content) {
    const out = new Uint8Array(12 + content.length);
    const view = new DataView(out.buffer);
    view.setUint32(0, content.length);
    for (let i = 0; i < 4; i++) out[4 + i] = type.charCodeAt(i);
    out.set(content, 8);
    view.setUint32(8 + content.length, crc(out.subarray(4, 8 + content.length)));
    return out;
  }

  /**
   * A PNG with a text (iTXt, UTF-8, not compressed) before its first IDAT, where readers find it without the pixels.
   * @param {Uint8Array} png @param {string} keyword 1 to 79 Latin letters @param {string} text
   * @returns {Uint8Array[]} parts of the new file; the pixels are not copied
   */
  function withText(png, keyword, text) {
    const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
    const at = (i) => String.fromCharCode(...png.subarray(i + 4, i + 8));
    if (png.length < 33 || view.getUint32(0) !== 0x89504e47 || view.getUint32(4) !== 0x0d0a1a0a) throw new Error("this is not a PNG");
    let place = 8;
    while (at(place) !== "IDAT") {
      place += 12 + view.getUint32(place);
      if (place + 8 > png.length) throw new Error("this PNG has no pixels");
    }
    const head = new TextEncoder().encode(`${keyword}\0\0\0\0\0`); // not compressed, method 0, no language, no other keyword
    const body = new TextEncoder().encode(text);
    const content = new Uint8Array(head.length + body.length);
    content.set(head);
    content.set(body, head.length);
    return [png.subarray(0, place), chunk("iTXt", content), png.subarray(place)];
  }

  // ---------------------------------------------------------------- the picture

  /** A white canvas and its context. @param {string} lang of the error, where it is too large */
  function canvasOf(lang, width, height) {
    const canvas = Object.assign(document.createElement("canvas"), { width: Math.max(1, width), height: Math.max(1, height) });
    const ctx = canvas.getContext("2d");
    if (!ctx) throw new Error(HaloVis.say(lang, "errorCanvas"));
    ctx.fillStyle = "#fff";
    ctx.fillRect(0, 0, canvas.width, canvas.height);
    return { canvas, ctx };
  }

  /** @param {HTMLCanvasElement} canvas @param {string} lang @param {string} type @param {number} [quality] @returns {Promise<Blob>} */
  const blobOf = (canvas, lang, type, quality) => new Promise((resolve, reject) => canvas.toBlob((blob) => {
    if (blob) resolve(blob);
    else reject(new Error(HaloVis.say(lang, "errorFormat", { format: type })));
  }, type, quality));

  /**
   * Uses the photo at its own resolution, decoded beside the page's work where that is possible, and gives it back.
   * @template R @param {object} data @param {(photo: CanvasImageSource) => R} use @returns {Promise<R>}
   */
  async function withPhoto(data, use) {
    const bitmap = (await data.photo?.decode()) ?? null;
    try {
      return use(bitmap ?? data.image);
    } finally {
      bitmap?.close();
    }
  }

  /** How many pixels of the file a pixel of the photo gets (whole: 2 for a small photo), and the file per CSS pixel. */
  function scaleOf({ width, height, zoom }) {
    const whole = Math.max(1, Math.ceil(zoom - 1e-9)); // small photos are enlarged by a whole factor, so that words stay legible
    const ratio = whole / zoom;
    const fit = Math.min(1, LONGEST / (width * ratio), LONGEST / (height * ratio), Math.sqrt(MOST / (width * height * ratio * ratio)));
    return { ratio: ratio * fit, reduction: whole * fit };
  }

  /**
   * @param {object} data @param {object} state @param {string} lang
   * @param {{rgb: Uint8Array, diverging?: Uint8Array, hashed?: boolean}} look hashed: hashes in the caption, too
   * @returns {Promise<Blob>}
   */
  async function png(data, state, lang, { hashed = false, ...look }) {
    await HaloVis.scene.finish(data, state);
    const sheet = HaloVis.sheet.layout(data, state, lang, HaloVis.sheet.measurer(), { hashed });
    const about = HaloVis.provenance.of(data, state, [sheet.plans.baseline, sheet.plans.halo]);
    const { ratio, reduction } = scaleOf(sheet);
    const { canvas, ctx } = canvasOf(lang, Math.floor(sheet.width * ratio), Math.floor(sheet.height * ratio));
    ctx.scale(ratio, ratio);
    await withPhoto(data, (photo) => HaloVis.sheet.draw(ctx, sheet, { ...look, photo }, { ratio, reduction }));
    const blob = await blobOf(canvas, lang, "image/png");
    canvas.width = canvas.height = 0; // give the memory back at once
    const bytes = new Uint8Array(await blob.arrayBuffer());
    return new Blob(withText(bytes, "halo_vis", JSON.stringify({ ...about, photo: { format: "png", scale: reduction } })), { type: "image/png" });
  }

  HaloVis.save = { png, fileName, safe, crc, withText, canvasOf, blobOf, withPhoto, scaleOf };
})();
