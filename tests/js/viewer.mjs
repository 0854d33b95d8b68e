// Loads the viewer's scripts as the page does, and makes small payloads for the tests.
import { readFileSync } from "node:fs";
import { runInThisContext } from "node:vm";

export const FOLDER = new URL("../../halo_vis/viewer/", import.meta.url);
/** In the order in which a page loads them. */
export const SCRIPTS = JSON.parse(readFileSync(new URL("order.json", FOLDER), "utf8")).map((name) => name.replace(/\.js$/, ""));

for (const name of SCRIPTS) runInThisContext(readFileSync(new URL(`${name}.js`, FOLDER), "utf8"), { filename: `${name}.js` });
export const HaloVis = globalThis.HaloVis;

/** A small generator with a seed, so that a failure can be repeated. */
export function random(seed) {
  let s = seed >>> 0;
  const next = () => {
    s = (s + 0x6d2b79f5) >>> 0;
    let t = Math.imul(s ^ (s >>> 15), 1 | s);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return {
    next,
    int: (low, high) => low + Math.floor(next() * (high - low + 1)),
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
  };
}

/** Nearest half-precision number: the obvious search over the exponent. */
export function toHalf(value) {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const v = Math.abs(value);
  if (v >= 65520) return sign | 0x7c00;
  const exponent = Math.max(-14, Math.floor(Math.log2(v || 2 ** -30)));
  const steps = Math.round(v / 2 ** (exponent - 10)); // 10 bits of fraction
  return sign | (exponent === -14 ? steps : steps + ((exponent + 14) << 10));
}

/** Collects tensors into one buffer. */
export class Writer {
  constructor() { this.parts = []; this.size = 0; }

  add(values, shape, dtype = "float16") {
    const Kind = { float16: Uint16Array, float32: Float32Array, uint8: Uint8Array }[dtype];
    const array = dtype === "float16" ? Uint16Array.from(values, toHalf) : Kind.from(values);
    const entry = { dtype, shape, offset: this.size };
    this.parts.push({ at: this.size, bytes: new Uint8Array(array.buffer) });
    this.size += Math.ceil(array.byteLength / 8) * 8;
    return entry;
  }

  buffer() {
    const out = new Uint8Array(this.size);
    for (const { at, bytes } of this.parts) out.set(bytes, at);
    return out.buffer;
  }
}

/** Numbers of a normal distribution as a tensor. */
function normals(r, writer, shape, dtype, scale = 1) {
  return writer.add(Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => r.normal() * scale), shape, dtype);
}

/**
 * A payload with one random halo layer and one global layer; with `others`, a control that shares all but q and k, and
 * a run of its own with blocks of `runBlock` cells, each in a file of its own.
 */
export function payload({
  seed = 1, height = 7, width = 9, block = 4, halo = 2, heads = 2, dim = 4, mask = "valid", stride = 16, norms = 1, dtype = "float16",
  others = false, runBlock = block, shipped = true,
} = {}) {
  const r = random(seed);
  const w = new Writer();
  const side = block + 2 * halo;
  const rows = Math.ceil(height / block), cols = Math.ceil(width / block);
  const cells = [height, width, heads, dim];
  const part = (writer, size) => ({
    q: normals(r, writer, cells, dtype, 1.5), k: normals(r, writer, cells, dtype, 1.5),
    norm: writer.add(Array.from({ length: height * width * heads }, () => r.next() * norms), [height, width, heads], dtype),
    rel_height: normals(r, writer, [2 * size - 1, dim], dtype), rel_width: normals(r, writer, [2 * size - 1, dim], dtype),
  });
  const tensors = part(w, side);
  if (shipped) {
    Object.assign(tensors, {
      received: normals(r, w, [heads + 1, height, width], dtype), received_contribution: null,
      blocks: normals(r, w, [heads + 1, rows, cols, side, side], dtype), blocks_contribution: null,
    });
  }
  const level = {
    height, width, stride, block_size: block, halo_size: halo, heads, dim_head: dim, scale: dim ** -0.5, mask, adds_nothing: norms === 0, tensors,
  };
  const global = { height: 3, width: 4, stride: 32, heads, key_dim: dim, scale: dim ** -0.5,
    tensors: { q: normals(r, w, [3, 4, heads, dim], dtype), k: normals(r, w, [3, 4, heads, dim], dtype) } };
  const meta = {
    version: 2, picture: { name: "a.jpg", width: 100, height: 80 },
    pair: { name: "photos", title: "photos", untrained: false, memorised: false, task: "detect", baseline: "B", halo: "H" },
    settings: { conf: 0.25, imgsz: 640, head: "one-to-many", device: "CPU" }, 
    provenance: { halo_vis: "1.0", pair: "photos", weights: { halo: "0123456789abcdef" }, picture_sha256: "fedcba9876543210" },
    input: { width: width * stride, height: height * stride, left: 3, top: 5, new_width: 120, new_height: 96 },
    colormaps: {}, palette: ["#0072B2", "#E69F00"], detections: { baseline: [], halo: [] }, matches: [], answers: [], others: [],
    levels: { P4: level }, global: { baseline: { layer10: global }, halo: { layer10: global } },
  };
  const files = {};
  if (others) {
    const control = new Writer(), run = new Writer();
    const { norm, rel_height, rel_width } = tensors;
    const inFile = (file, entries) => Object.fromEntries(Object.entries(entries).map(([name, t]) => [name, { ...t, file }]));
    const random2 = inFile("control", { q: normals(r, control, cells, dtype, 2), k: normals(r, control, cells, dtype, 2) });
    const bare = { ...level, tensors: { ...random2, norm, rel_height, rel_width } };
    const other = { ...level, block_size: runBlock, tensors: inFile("run1", part(run, runBlock + 2 * halo)) };
    meta.others.push({ id: "control", kind: "control", title: "control", levels: { P4: bare }, detections: null, matches: null, seed: 0 });
    meta.others.push({ id: "run1", kind: "run", title: "<b>run one</b>", levels: { P4: other }, detections: [], matches: [] });
    Object.assign(files, { control: control.buffer(), run1: run.buffer() });
  }
  return { meta, buffer: w.buffer(), files };
}

/** Data and a state to plan with, as the explorer has them. @param {object} options of `payload` @param {(meta: object) => void} change */
export function make(options, change = () => {}) {
  const { tensors, scene } = HaloVis;
  const { meta, buffer, files = {} } = payload(options);
  change(meta);
  const data = { meta, pack: tensors.open({ tensors: buffer, ...files }, meta), frame: tensors.frame(meta.picture, meta.input), colors: {}, urls: {} };
  const state = { ...scene.start(), point: tensors.centreOf({ stride: 16 }, 2, 3) };
  return { data, state, level: meta.levels.P4, buffer, files };
}

/** A detection. */
export const det = (xyxy, conf, more = {}) => ({ xyxy, conf, cls: 0, name: "person", query: { level: "P4", y: 1, x: 1 }, polygon: null, ...more });
