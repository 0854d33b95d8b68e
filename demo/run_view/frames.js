// Attention of the probe's query, epoch by epoch: read from lines of JSON, decoded when needed, drawn by the explorer's own code.
// Geometry, masses, entropy and colours are those of halo_vis/viewer. Pure apart from the panel's context.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const runs = (HaloVis.runs ??= {});
  const T = () => HaloVis.tensors;

  /** Ends of the colour bar: the first that nothing goes beyond. */
  const ENDS = [2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536];
  const OPACITY = 0.6;

  const isObject = (v) => typeof v === "object" && v !== null && !Array.isArray(v);
  const isWhole = (v, low, high = Infinity) => Number.isInteger(v) && v >= low && v <= high;
  const MOST_CELLS = 1 << 20; // of a level's weights: more is no map of ours

  /** Is this a level that can be drawn? */
  function sound(level) {
    if (!isObject(level) || typeof level.weights !== "string" || !(level.uniform > 0 && level.uniform <= 1)) return false;
    const { y, x, h, w, rows, cols, heads } = level;
    if (![h, w, rows, cols, heads].every((v) => isWhole(v, 1, 4096)) || !isWhole(y, 0, h - 1) || !isWhole(x, 0, w - 1)) return false;
    if (![level.y0, level.x0].every(Number.isInteger) || rows * cols * (heads + 1) > MOST_CELLS) return false;
    const { block } = level;
    return block === null || block === undefined ||
      (Array.isArray(block) && block.length === 4 && block.every(Number.isInteger) && block[0] >= level.y0 && rows > 2 * (block[0] - level.y0));
  }

  /**
   * Frames of a member by epoch, rising. Lines that cannot be read are left out (the last may be half written); of an epoch
   * that appears twice the later line counts.
   * @param {string} text @returns {Map<number, object>}
   */
  function parse(text) {
    const found = new Map();
    for (const line of String(text).split("\n")) {
      let frame;
      try { frame = JSON.parse(line); } catch { continue; }
      if (!isObject(frame) || !isWhole(frame.epoch, 0) || !isObject(frame.levels)) continue;
      const levels = Object.fromEntries(Object.entries(frame.levels).filter(([, level]) => sound(level)));
      found.set(frame.epoch, { ...frame, levels });
    }
    return new Map([...found].sort(([a], [b]) => a - b));
  }

  /** @type {WeakMap<object, Float32Array|null>} */
  const decoded = new WeakMap();

  /** Weights of a level, (1 + heads, rows, cols), mean first; null: it is damaged. @returns {Float32Array|null} */
  function weightsOf(level) {
    if (decoded.has(level)) return decoded.get(level);
    let out = null;
    try {
      const bytes = atob(level.weights), length = (level.heads + 1) * level.rows * level.cols;
      if (bytes.length === 2 * length) {
        const half = T().halfTable();
        out = Float32Array.from({ length }, (_, i) => half[bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8)]);
      }
    } catch { /* not base64: damaged as well */ }
    decoded.set(level, out);
    return out;
  }

  /** One head of a level; -1: their mean. @returns {Float32Array|null} */
  function rowOf(level, head) {
    const all = weightsOf(level);
    return all && head < level.heads ? T().pick(all, head, level.rows * level.cols) : null;
  }

  /** A level as the explorer knows layers, so that its geometry, its masses and its entropy are the same. */
  function layerOf(name, level, stride) {
    const global = !level.block;
    const halo = global ? 0 : level.block[0] - level.y0;
    const layer = {
      kind: global ? "global" : "halo", name, key: `probe:${name}`, height: level.h, width: level.w, stride, heads: level.heads, halo,
      block: global ? 0 : level.rows - 2 * halo, window: global ? 0 : level.rows, mask: "valid", tensors: {},
    };
    // The published mask lets other keys through than those inside the map: then uniform is another number.
    if (!global && Math.abs(1 / level.uniform - T().windowOf(layer, level.y, level.x).inside) > 0.5) layer.mask = "published";
    return layer;
  }

  /** The letterbox of the probe. */
  const frameOf = ({ width, height, letterbox: { scale, left, top } }) =>
    T().frame({ width, height }, { left, top, new_width: width * scale, new_height: height * scale });

  /** Largest weight as a multiple of uniform, inside the map. @returns {{times: number, y: number, x: number}|null} */
  function peak(level, head) {
    const row = rowOf(level, head);
    if (!row) return null;
    let best = -1;
    row.forEach((v, n) => {
      const y = level.y0 + Math.floor(n / level.cols), x = level.x0 + (n % level.cols);
      if (y >= 0 && x >= 0 && y < level.h && x < level.w && (best < 0 || v > row[best])) best = n;
    });
    return best < 0 ? null : { times: row[best] / level.uniform, y: level.y0 + Math.floor(best / level.cols), x: level.x0 + (best % level.cols) };
  }

  /** The end of the colour bar of a level, for all epochs. @param {Map<number, object>} frames */
  function endOf(frames, name, head) {
    let most = 0;
    for (const frame of frames.values()) if (frame.levels[name]) most = Math.max(most, peak(frame.levels[name], head)?.times ?? 0);
    return ENDS.find((end) => end >= most) ?? 2 ** Math.ceil(Math.log2(most));
  }

  /** The numbers of a row, as halo_vis.maps defines them. */
  function numbersOf(name, level, head, stride) {
    const row = rowOf(level, head);
    if (!row) return null;
    const layer = layerOf(name, level, stride), { y, x } = level;
    return { mass: layer.kind === "halo" ? T().mass(layer, y, x, row) : null, entropy: T().entropy(layer, y, x, row), peak: peak(level, head) };
  }

  /** Levels of a member: those of any epoch, the halo's first. */
  function levelsOf(frames) {
    const names = [...new Set([...frames.values()].flatMap((f) => Object.keys(f.levels)))];
    const rank = (name) => (/^P\d+$/.test(name) ? 0 : 1);
    return names.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b, "en", { numeric: true }));
  }

  /** Boxes that can be drawn, the weakest first. */
  function boxesOf(frame, probe, palette) {
    const names = isObject(probe.names) || Array.isArray(probe.names) ? probe.names : {};
    return runs.series.list(frame?.boxes).slice(0, 50)
      .filter((b) => Array.isArray(b) && b.length >= 6 && b.slice(0, 6).every(Number.isFinite))
      .map(([x1, y1, x2, y2, conf, cls], index) => ({
        index, xyxy: [x1, y1, x2, y2], conf, name: String(names[cls] ?? cls), polygon: null, color: palette[Math.abs(cls) % palette.length],
        status: "kept", selected: false,
      })).sort((a, b) => a.conf - b.conf);
  }

  /**
   * What a panel shows, for HaloVis.paint.panel.
   * @param {object} probe @param {object|undefined} frame of the epoch
   * @param {{level: string, head: number, end: number, log: boolean, boxes: boolean, palette: string[]}} look
   */
  function plan(probe, frame, look) {
    const f = frameOf(probe), level = frame?.levels[look.level];
    const out = {
      width: probe.width, height: probe.height, heat: null, cell: null, area: null, block: null, window: null, dim: null, lattice: null,
      boxes: look.boxes ? boxesOf(frame, probe, look.palette) : [], labels: true, opacity: OPACITY, dimPhoto: 0,
    };
    const row = level && rowOf(level, look.head);
    if (!row) return out;
    const layer = layerOf(look.level, level, strideOf(probe, look.level));
    const part = { layer, view: "cell", of: "weight", head: look.head, y: level.y, x: level.x };
    const { heat } = HaloVis.heats.heatOf({ frame: f }, part, row);
    // The layer counts the keys inside the map; under the published mask others are let through, and uniform is theirs.
    const keys = layer.kind === "global" ? row.length : T().windowOf(layer, level.y, level.x).inside;
    const factor = 1 / level.uniform / keys;
    if (Math.abs(factor - 1) > 1e-6) heat.values = heat.values.map((v) => v * factor);
    out.heat = HaloVis.heats.scaled(heat, look.end, look.log);
    const rect = (y0, x0, y1, x1) => T().cellsRect(f, layer, y0, x0, y1, x1);
    out.cell = rect(level.y, level.x, level.y + 1, level.x + 1);
    if (layer.kind === "halo") {
      const w = T().windowOf(layer, level.y, level.x);
      out.window = out.dim = rect(w.y0, w.x0, w.y1, w.x1);
      out.block = rect(w.by, w.bx, Math.min(layer.height, w.by + layer.block), Math.min(layer.width, w.bx + layer.block));
    }
    return out;
  }

  /** Input pixels of a cell. */
  const strideOf = (probe, name) => (probe.strides?.[name] > 0 ? probe.strides[name] : { P3: 8, P4: 16 }[name] ?? 32);

  /** Can pictures be drawn of this probe? */
  function soundProbe(probe) {
    const l = probe?.letterbox;
    return isObject(probe) && isWhole(probe.width, 1, 65536) && isWhole(probe.height, 1, 65536) && isObject(l) && l.scale > 0 &&
      Number.isFinite(l.left) && Number.isFinite(l.top);
  }

  runs.frames = { parse, weightsOf, rowOf, layerOf, frameOf, peak, endOf, numbersOf, levelsOf, boxesOf, plan, strideOf, soundProbe, ENDS };
})();
