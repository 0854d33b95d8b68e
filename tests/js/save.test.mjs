// Names and captions of what leaves the viewer, the sheet that all pictures share, text in a PNG.
import assert from "node:assert/strict";
import { deflateSync, gzipSync } from "node:zlib";
import { test } from "node:test";
import { HaloVis, make } from "./viewer.mjs";

const { scene, save, sheet, provenance } = HaloVis;
const HOSTILE = ["<script>alert(1)</script>", "${alert(1)}", "a\"b'c", "]]>&amp;--", "one\ntwo\r\tthree\u0000\u2028", "\u516c\u4ea4\u8f66", "\ud800 alone", "\u202egpj.exe"];

/** zlib's own checksum: it ends a gzip file, before the length. */
const zlibCrc = (bytes) => gzipSync(bytes).readUInt32LE(gzipSync(bytes).length - 8);

test("the checksum is zlib's", () => {
  for (const length of [0, 1, 3, 255, 4096]) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 37 + length) & 255);
    assert.equal(save.crc(bytes), zlibCrc(bytes));
  }
});

/** A PNG from the specification: one grey row. */
function plainPng() {
  const chunk = (type, content) => {
    const out = Buffer.alloc(12 + content.length);
    out.writeUInt32BE(content.length);
    out.write(type, 4, "latin1");
    out.set(content, 8);
    out.writeUInt32BE(zlibCrc(out.subarray(4, 8 + content.length)), 8 + content.length);
    return out;
  };
  const header = Buffer.from([0, 0, 0, 3, 0, 0, 0, 1, 8, 0, 0, 0, 0]);
  const pixels = deflateSync(Buffer.from([0, 10, 20, 30]));
  return Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), chunk("IHDR", header), chunk("sRGB", Buffer.from([0])),
    chunk("IDAT", pixels.subarray(0, 5)), chunk("IDAT", pixels.subarray(5)), chunk("IEND", Buffer.alloc(0))]);
}

/** Chunks of a PNG, each with its checksum tried. */
function chunks(png) {
  const out = [];
  for (let at = 8; at < png.length;) {
    const length = png.readUInt32BE(at);
    const body = png.subarray(at + 4, at + 8 + length);
    assert.equal(png.readUInt32BE(at + 8 + length), zlibCrc(body), "checksum");
    out.push({ type: body.toString("latin1", 0, 4), content: body.subarray(4) });
    at += 12 + length;
  }
  return out;
}

test("a PNG gets its text before its first pixels, and keeps all else", () => {
  const png = plainPng();
  const text = JSON.stringify({ name: HOSTILE });
  const after = Buffer.concat(save.withText(png, "halo_vis", text));
  const [before, now] = [chunks(png), chunks(after)];
  assert.deepEqual(now.map((c) => c.type), ["IHDR", "sRGB", "iTXt", "IDAT", "IDAT", "IEND"]);
  assert.deepEqual(now.filter((c) => c.type !== "iTXt"), before);
  const { content } = now[2];
  assert.equal(content.toString("latin1", 0, 13), "halo_vis\0\0\0\0\0");
  assert.equal(content.toString("utf8", 13), text);
  const within = new Uint8Array(Uint8Array.from([1, 2, 3, ...png]).buffer, 3); // a part of a larger buffer
  assert.deepEqual(Buffer.concat(save.withText(within, "halo_vis", text)), after);
  assert.throws(() => save.withText(png.subarray(1), "halo_vis", text), /not a PNG/);
  assert.throws(() => save.withText(png.subarray(0, 50), "halo_vis", text), /no pixels/);
});

test("file names hold no separators, markup or dots in front", () => {
  const { data, state } = make({});
  assert.equal(save.fileName(data, state), "a_photos_P4_mean_cell.png");
  data.meta.picture.name = "../..\\<script>${alert(1)}</script> \u516c\u4ea4\u8f66.final.jpeg";
  const name = save.fileName(data, { ...state, head: 1, view: "blocks", of: "contribution" });
  assert.equal(name, "script-\u516c\u4ea4\u8f66.final_photos_P4_head2_blocks_contribution.png");
  assert.equal(save.fileName(data, { ...state, head: -2, mode: "difference" }, "webm"), "script-\u516c\u4ea4\u8f66.final_photos_P4_max_cell_difference.webm");
  for (const picture of [...HOSTILE, "???", "..", "x".repeat(500), "\u{1f41d}".repeat(90), "\u516c".repeat(90), "a/../../b", "CON\n/etc/passwd"]) {
    for (const pair of ["photos", "../../x", "", HOSTILE[0]]) {
      data.meta.picture.name = picture;
      data.meta.pair.name = pair;
      const one = save.fileName(data, state, "svg");
      assert.match(one, /^[\p{L}\p{M}\p{N}_][\p{L}\p{M}\p{N}._-]*\.svg$/u);
      assert.ok(!one.includes("..") && Buffer.byteLength(one) < 250, one);
    }
  }
});

test("the caption names pair, layer, head, cell, scale, image size and the part that is seen", () => {
  const { data, state } = make({});
  const plans = ["baseline", "halo"].map((side) => scene.plan(data, state, side));
  const seen = { x: 10, y: 20, w: 30, h: 40 };
  const text = sheet.caption("en", data, plans, ["badgeMemorised"], { reduction: 0.5, seen, hashed: true }).join("\n");
  const words = ["a.jpg", "photos", "imgsz 640", "conf 0.25", "one-to-many", "CPU", "50 %", "P4, mean of heads, row of cell (2, 3), weights", "scale 0 to 8",
    "layer 10", "memorised", "pixels (10, 20) to (40, 60)", "HaloVis 1.0; weights: halo 01234567; picture: fedcba98", "H:", "B:"];
  for (const word of words) assert.ok(text.includes(word), `${word} in ${text}`);
  assert.ok(!/part of the photo|01234567/.test(sheet.caption("en", data, plans, []).join()));
  const lines = sheet.wrap((t) => 10 * [...t].length, "one two \u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03 abcdefghijklmnop \u{1f41d}\u{1f41d}\u{1f41d}\u{1f41d}\u{1f41d}\u{1f41d}\u{1f41d}\u{1f41d}\u{1f41d}", 80);
  assert.ok(lines.every((l) => [...l].length <= 8 && !/\p{Cs}/u.test(l)));
  assert.equal(lines.join("").replaceAll(" ", ""), `onetwo\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03abcdefghijklmnop${"\u{1f41d}".repeat(9)}`);
});

test("every view and scale has its words in both languages", () => {
  const { data, state } = make({ others: true }, (meta) => {
    meta.detections.halo = [{ xyxy: [0, 0, 40, 40], conf: 0.9, cls: 0, name: "x", query: { level: "P4", y: 1, x: 1 }, polygon: null }];
  });
  const known = Object.keys(HaloVis.texts.en);
  for (const lang of ["en", "zh-CN"]) {
    for (const view of scene.CHOICES.view) {
      for (const more of [{}, { log: true }, { scales: { ...state.scales, [view]: "auto" } }, { mode: "difference" }, { of: "position", head: -2 }]) {
        const now = { ...state, left: "control", box: { side: "halo", index: 0 }, view, ...more };
        const plan = scene.plan(data, now, "halo");
        while (scene.work(data, now, 1000));
        const words = `${sheet.what(lang, scene.plan(data, now, "halo"))} ${sheet.titleOf(lang, data, plan)}`;
        assert.ok(!words.includes("undefined") && !words.includes("{"), words);
        assert.ok(!known.some((key) => /[a-z][A-Z]/.test(key) && words.includes(key)), words);
      }
    }
  }
});

const measure = (text, font) => [...text].length * 0.6 * Number(/([\d.]+)px/.exec(font)[1]);

test("the sheet: both panels, or one with a line; bars and words below, nothing outside", () => {
  for (const mode of scene.CHOICES.mode) {
    for (const more of [{}, { left: "off" }, { strip: "heads" }, { zoom: { scale: 4, x: 3, y: 77 } }, { left: "control", log: true }]) {
      const { data, state } = make({ others: true });
      const now = { ...state, mode, ...more };
      const one = sheet.layout(data, now, "en", measure);
      assert.equal(one.panels.length, mode === "slider" ? 1 : 2);
      for (const { x } of one.panels) assert.ok(one.left + x + one.w <= one.width - 15.999);
      for (const bar of one.bars) assert.ok(bar.x >= 0 && one.left + bar.x + bar.long + (bar.below ? 0 : 14 + measure(bar.text, "12px x")) <= one.width - 15.999);
      for (const t of one.thumbs) assert.ok(one.left + t.x + t.crop.w * t.zoom <= one.width - 15.999 && t.y >= 0 && one.thumbTop + t.y + t.crop.h * t.zoom < one.textTop);
      assert.equal(one.thumbs.length, now.strip === "heads" ? 4 : 0);
      assert.ok(one.top + one.h < one.barTop && one.textTop + 19 * one.lines(0.5).length <= one.height);
      for (const line of one.lines(0.5)) assert.ok(measure(line, "14px x") <= one.width - 32);
      assert.ok(Math.abs(Math.max(one.w, one.h) - 900) < 1e-6);
    }
  }
});

test("hashes stand in the caption of stills and films, where they are wanted", () => {
  const { data, state } = make({});
  for (const film of [false, true]) {
    const text = (hashed) => sheet.layout(data, state, "en", measure, { film, hashed }).lines(1).join(" ");
    assert.ok(text(true).includes("weights: halo 01234567") && !text(false).includes("01234567"), `film ${film}`);
  }
});

test("bars of a slider: one where both halves agree, else one for each half", () => {
  const { data, state } = make({ others: true });
  const count = (more) => sheet.layout(data, { ...state, mode: "slider", ...more }, "en", measure).bars.length;
  assert.equal(count({ left: "control" }), 1);
  assert.equal(count({ left: "layer10", view: "received" }), 2, "a row on the left, 0 to 8; received on the right, 0 to 2");
  assert.equal(count({ left: "off" }), 1);
});

test("the whole photo is seen unless zoomed; then whole pixels around the part", () => {
  const { data, state } = make({}); // 100 x 80
  assert.deepEqual(sheet.part(data, state, true), { x: 0, y: 0, w: 100, h: 80 });
  assert.deepEqual(sheet.part(data, { zoom: { scale: 3, x: 50, y: 40 } }, true), { x: 33, y: 26, w: 34, h: 28 });
  assert.deepEqual(sheet.part(data, { zoom: { scale: 4, x: 0, y: 80 } }, true), { x: 0, y: 60, w: 25, h: 20 });
  assert.equal(sheet.part(data, { zoom: { scale: 3, x: 50, y: 40 } }, false).w, 100 / 3);
  for (const [width, height] of [[180, 240], [4000, 3000], [40, 9000]]) {
    const { ratio, reduction } = save.scaleOf({ width: 1400, height: 1100, zoom: 900 / Math.max(width, height) });
    assert.ok(Math.abs(ratio * (900 / Math.max(width, height)) - reduction) < 1e-9, "the photo's pixels and the file's");
    if (Math.max(width, height) < 4001) assert.ok(Number.isInteger(reduction) && reduction >= 1, "whole pixels");
    assert.ok(1400 * ratio <= 16384 && 1400 * 1100 * ratio ** 2 <= 100e6 + 1);
  }
});

test("provenance says what is shown, in values that restore the view", () => {
  const { data, state } = make({ others: true });
  data.meta.provenance = { halo_vis: "1", pair: "photos", picture: HOSTILE[0] };
  const now = { ...state, left: "run1", head: 1, of: "contribution", log: true, point: [40, 24], mode: "difference", zoom: { scale: 2, x: 50, y: 40 } };
  const about = provenance.of(data, now);
  assert.deepEqual(JSON.parse(JSON.stringify(about)), about, "plain JSON");
  assert.deepEqual([about.halo_vis, about.picture, about.image], ["1", HOSTILE[0], { width: 100, height: 80 }]);
  assert.deepEqual([about.view.y, about.view.x, about.view.head, about.view.of, about.view.left, about.view.scale], [1, 2, 1, "contribution", "run1", 8]);
  const [left, right] = about.panels;
  assert.deepEqual([left.source, left.difference, left.log, right.source, right.difference, right.log, right.mask], ["run1", false, true, "halo", true, false, "valid"]);
  const back = scene.restore(data, scene.start(), about.view);
  assert.deepEqual(provenance.of(data, back), about);
});
