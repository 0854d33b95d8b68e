// The SVG: well formed for a strict reader, names as text, the heat's rectangles where and in the colour that paint.js says.
import assert from "node:assert/strict";
import { test } from "node:test";
import { HaloVis, make } from "./viewer.mjs";

const { svg, sheet, scene, paint, provenance } = HaloVis;
const HOSTILE = "<script>alert(1)</script> ${alert(1)} \"'&amp; ]]> --> one\ntwo\u0000\u001b\ufffe\ud800 \u516c\u4ea4\u8f66 \u{1f41d}";
const rgb = Uint8Array.from({ length: 768 }, (_, i) => (i % 3 === 0 ? Math.floor(i / 3) : 10 * (i % 3)));
const diverging = Uint8Array.from({ length: 768 }, (_, i) => (i % 3 === 2 ? Math.floor(i / 3) : 200));
const measure = (text, font) => [...text].length * 0.6 * Number(/([\d.]+)px/.exec(font)[1]);
const letters = { width: measure, drop: () => 4 };

const ENTITIES = { lt: "<", gt: ">", amp: "&" };

/** Text of XML; anything that is not allowed there fails. */
function decode(text) {
  assert.ok(!/[<\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/.test(text) && !/\p{Cs}/u.test(text), `not XML: ${JSON.stringify(text)}`);
  return text.replace(/&(?:#(\d+)|(\w+));|&/g, (all, code, name) => {
    assert.ok(code || ENTITIES[name], `a bare & in ${text}`);
    return code ? String.fromCodePoint(Number(code)) : ENTITIES[name];
  });
}

/** A strict and small XML parser. @returns {{name: string, attributes: object, children: object[], text: string}} */
function parse(xml) {
  assert.ok(xml.startsWith('<?xml version="1.0" encoding="UTF-8"?>\n'));
  const root = { name: "", attributes: {}, children: [], text: "" };
  const stack = [root];
  const rest = xml.slice(xml.indexOf("\n") + 1);
  const pattern = /<(\/?)([A-Za-z][\w:.-]*)((?:\s+[A-Za-z][\w:.-]*="[^"<]*")*)\s*(\/?)>/y;
  for (let at = 0; at < rest.length;) {
    const next = rest.indexOf("<", at);
    const text = rest.slice(at, next < 0 ? rest.length : next);
    assert.ok(!text.includes("]]>"));
    stack.at(-1).text += decode(text);
    if (next < 0) break;
    pattern.lastIndex = next;
    const found = pattern.exec(rest);
    assert.ok(found, `not a tag: ${rest.slice(next, next + 80)}`);
    const [all, closes, name, list, empty] = found;
    at = next + all.length;
    if (closes) { assert.equal(stack.pop().name, name); continue; }
    const attributes = {};
    for (const [, key, value] of list.matchAll(/([A-Za-z][\w:.-]*)="([^"]*)"/g)) {
      assert.ok(!Object.hasOwn(attributes, key), `${key} twice in ${name}`);
      attributes[key] = decode(value);
    }
    const node = { name, attributes, children: [], text: "" };
    stack.at(-1).children.push(node);
    if (!empty) stack.push(node);
  }
  assert.equal(stack.length, 1, "everything is closed");
  assert.equal(root.children.length, 1);
  return root.children[0];
}

const all = (node, name) => [...(node.name === name ? [node] : []), ...node.children.flatMap((child) => all(child, name))];
const byId = (node, id) => (node.attributes.id === id ? node : node.children.map((child) => byId(child, id)).find(Boolean));

const ELEMENTS = new Set(["svg", "title", "desc", "metadata", "defs", "image", "clipPath", "path", "rect", "g", "use", "text"]);

function drawn(options, more, change) {
  const { data, state } = make({ others: true, ...options }, change);
  const now = { ...state, ...more };
  while (scene.work(data, now, 1000));
  const laid = sheet.layout(data, now, "en", measure, { hashed: true });
  const about = provenance.of(data, now, [laid.plans.baseline, laid.plans.halo]);
  const photo = { href: "data:image/png;base64,AAAA", region: laid.view, width: data.frame.width, height: data.frame.height };
  const text = svg.write(laid, { rgb, diverging }, photo, about, letters, String(data.meta.picture.name));
  const root = parse(text);
  return { data, state: now, laid, about, root, text };
}

const det = (name, more = {}) => ({ xyxy: [10, 8, 60, 50], conf: 0.9, cls: 0, name, query: { level: "P4", y: 1, x: 1 }, polygon: null, ...more });

test("every view is well-formed SVG 1.1 that points only at itself", () => {
  const change = (meta) => {
    meta.detections = { baseline: [det("a")], halo: [det("b", { polygon: [[10, 10], [50, 10], [50, 40]] })] };
    meta.matches = [{ kind: "gained", baseline: null, halo: 0, iou: null, delta: null }, { kind: "lost", baseline: 0, halo: null, iou: null, delta: null }];
  };
  const show = { boxes: true, labels: true, grid: true, window: true };
  for (const view of scene.CHOICES.view) {
    for (const more of [{}, { mode: "slider", left: "control" }, { mode: "difference", left: "mask" }, { log: true, strip: "levels" }, { strip: "heads", dim: 0.4 },
      { left: "off", zoom: { scale: 5, x: 30, y: 30 } }, { level: "layer10" }]) {
      const { root, laid, about } = drawn({}, { view, show, box: { side: "halo", index: 0 }, ...more }, change);
      assert.deepEqual([root.name, root.attributes.version, root.attributes.xmlns], ["svg", "1.1", "http://www.w3.org/2000/svg"]);
      assert.equal(root.attributes.viewBox, `0 0 ${root.attributes.width} ${root.attributes.height}`);
      const nodes = [...ELEMENTS].flatMap((name) => all(root, name));
      const count = (node) => 1 + node.children.reduce((n, child) => n + count(child), 0);
      assert.equal(nodes.length, count(root), "no other element");
      const ids = nodes.map((n) => n.attributes.id).filter(Boolean);
      assert.equal(new Set(ids).size, ids.length);
      for (const { name, attributes } of nodes) {
        for (const [key, value] of Object.entries(attributes)) {
          assert.ok(!/NaN|undefined|Infinity|rgba|\[object/.test(value), `${name} ${key}="${value}"`);
          for (const [, id] of value.matchAll(/url\(#([^)]+)\)/g)) assert.ok(ids.includes(id), value);
          if (key === "xlink:href") assert.ok(name === "image" ? value.startsWith("data:image/") : value === "#photo");
          assert.ok(!/^on|^href$/.test(key));
        }
      }
      assert.equal(all(root, "image").length, 1, "one raster: the photo");
      assert.equal(all(root, "use").length, (laid.one ? 2 : laid.panels.length) + laid.thumbs.length);
      assert.deepEqual(JSON.parse(all(root, "metadata")[0].text), about);
    }
  }
});

test("names are text, wherever they stand", () => {
  const { root, about, text } = drawn({}, { left: "run1" }, (meta) => {
    meta.picture.name = meta.pair.title = meta.pair.halo = HOSTILE;
    meta.detections.halo = [det(HOSTILE)];
    meta.others[1].title = HOSTILE;
    meta.others[1].detections = [det("x\"><script/>")];
    Object.assign(meta.provenance, { picture: HOSTILE });
  });
  const clean = HOSTILE.replace(/[\u0000\u001b\ufffe\ud800](?![\udc00-\udfff])/g, "\ufffd");
  assert.equal(all(root, "title")[0].text, clean);
  assert.ok(all(root, "desc")[0].text.includes(clean));
  const stored = JSON.parse(all(root, "metadata")[0].text);
  assert.equal(stored.picture, HOSTILE.replace("\ufffe", "\ufffd"), "JSON has its own escapes for the rest");
  assert.deepEqual({ ...stored, picture: "" }, { ...about, picture: "" });
  assert.equal(all(root, "script").length, 0);
  const words = all(root, "text").map((node) => node.text);
  assert.ok(words.some((w) => w.startsWith("<script>alert(1)</script> ${")), "the label, cut to its length");
  assert.ok(words.some((w) => w.includes('x"><script/> 0.90')));
  assert.ok(!text.includes("<script"));
});

test("the heat: every value in its place and colour, runs of one colour as one rectangle, missing values free", () => {
  for (const more of [{}, { log: true }, { left: "control", mode: "difference" }, { view: "received" }]) {
    const { root, laid } = drawn({}, more);
    const { heat } = laid.plans.halo;
    const group = byId(root, "halo-heat").children.find((node) => node.attributes["shape-rendering"]);
    assert.equal(Number(group.attributes.opacity), 0.6);
    const [left, top] = [laid.left + laid.panels[1].x, laid.top].map(Math.round);
    const colors = heat.diverging ? diverging : rgb;
    const hex = (v) => `#${[0, 1, 2].map((i) => colors[3 * paint.colorAt(v, heat) + i].toString(16).padStart(2, "0")).join("")}`;
    /** The last rectangle over a point, as a reader paints it. */
    const at = (x, y) => group.children.findLast(({ attributes: a }) => x > +a.x && x < +a.x + +a.width && y > +a.y && y < +a.y + +a.height)?.attributes.fill;
    for (let n = 0; n < heat.values.length; n++) {
      for (const [dx, dy] of [[0.5, 0.5], [0.001, 0.001], [0.999, 0.999]]) {
        const x = left + (heat.rect.x + ((n % heat.cols) + dx) * heat.rect.w / heat.cols) * laid.zoom;
        const y = top + (heat.rect.y + (Math.floor(n / heat.cols) + dy) * heat.rect.h / heat.rows) * laid.zoom;
        assert.equal(at(x, y), Number.isNaN(heat.values[n]) ? undefined : hex(heat.values[n]));
      }
    }
  }
  const flat = { values: Float32Array.from([1, 1, NaN, 1, 1, 1, 2, 1]), rows: 2, cols: 4, max: 8, log: false, diverging: false };
  assert.deepEqual(svg.runs(flat, rgb).map((run) => run.slice(0, 3)), [[0, 0, 2], [0, 3, 4], [1, 0, 2], [1, 2, 3], [1, 3, 4]]);
});

test("groups have names; lines, boxes and words are where the sheet has them", () => {
  const { root, laid, state } = drawn({}, { strip: "heads" }, (meta) => { meta.detections.halo = [det("person")]; });
  for (const id of ["titles", "baseline", "halo", "halo-photo", "halo-heat", "halo-lines", "halo-boxes", "halo-cell", "bars", "thumbs", "caption"])
    assert.equal(byId(root, id)?.name, "g", id);
  assert.deepEqual(all(byId(root, "caption"), "text").map((n) => n.text), laid.lines(1));
  const label = all(byId(root, "halo-boxes"), "text")[0];
  assert.equal(label.text, "person 0.90");
  assert.equal(label.attributes["font-weight"], "600");
  assert.equal(Number(label.attributes.textLength), Number(measure(label.text, "12px x").toFixed(3)));
  const box = all(byId(root, "halo-boxes"), "rect").find((n) => n.attributes.stroke === "#0072B2").attributes;
  const x = Math.round(laid.left + laid.panels[1].x) + 10 * laid.zoom;
  assert.ok(Math.abs(Number(box.x) - x) < 0.001 && Math.abs(Number(box.width) - 50 * laid.zoom) < 0.001);
  assert.ok(state.strip === "heads" && all(byId(root, "thumbs"), "text").length === 4);
  const window = all(byId(root, "halo-lines"), "rect").find((n) => n.attributes["stroke-dasharray"]);
  assert.equal(window.attributes["stroke-dasharray"], "6,4");
});

test("a zoomed view holds the part of the photo that is seen, in its place", () => {
  const { root, laid } = drawn({}, { zoom: { scale: 4, x: 70, y: 30 } });
  const { x, y, width, height } = all(root, "image")[0].attributes;
  assert.deepEqual([x, y, width, height].map(Number), Object.values(laid.view));
  const [, tx, ty, sx] = /translate\(([-\d.]+) ([-\d.]+)\) scale\(([-\d.e]+) /.exec(all(root, "use")[0].attributes.transform).map(Number);
  assert.ok(Math.abs(tx + laid.view.x * sx - Math.round(laid.left)) < 0.01 && Math.abs(ty + laid.view.y * sx - Math.round(laid.top)) < 0.01);
  assert.ok(Math.abs(sx - laid.zoom) < 1e-6);
  assert.ok(all(root, "desc")[0].text.includes("part of the photo"));
});

test("the context moves and scales as a canvas does, and refuses a second raster", () => {
  const source = {};
  const pen = new svg.Pen(letters, { source, width: 10, height: 10 });
  pen.save();
  pen.translate(10, 20);
  pen.scale(2, 2);
  pen.lineWidth = 1.5;
  pen.strokeStyle = "rgba(255,0,0,.5)";
  pen.strokeRect(1, 2, 3, 4);
  pen.restore();
  pen.fillRect(1, 2, 3, 4);
  assert.equal(pen.out[0], '<rect x="12" y="24" width="6" height="8" fill="none" stroke="rgb(255,0,0)" stroke-opacity="0.5" stroke-width="3"/>');
  assert.equal(pen.out[1], '<rect x="1" y="2" width="3" height="4" fill="#000"/>');
  assert.throws(() => pen.drawImage({}, 0, 0, 1, 1), /one raster/);
});
