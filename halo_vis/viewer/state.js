// The view state: where it starts, what it may be, and its short form in a link. Plain objects, no DOM.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const T = () => HaloVis.tensors;

  /**
   * @typedef {"baseline"|"halo"} Side the left and the right panel
   * @typedef {object} State
   * @property {string} level P3, P4, P5, layer10 or layer22
   * @property {string} left layer10, layer22, off, control, mask or run1, ...
   * @property {"pair"|"slider"|"difference"} mode
   * @property {"off"|"levels"|"heads"} strip
   * @property {"cell"|"box"|"to"|"blocks"|"received"} view
   * @property {number} head -1: mean, -2: maximum
   * @property {"weight"|"contribution"|"content"|"position"} of
   * @property {[number, number]} point x, y in pixels of the network's input
   * @property {{side: Side, index: number}|null} box index in `scene.lists(...)[side]`
   * @property {Object<string, number|"auto">} scales by view
   * @property {boolean} log
   * @property {number} opacity of the heat
   * @property {number} dim 0 to 0.8: how far the photo is darkened
   * @property {string} map
   * @property {{boxes: boolean, labels: boolean, grid: boolean, window: boolean}} show
   * @property {{scale: number, x: number, y: number}} zoom x, y: photo pixels at the panel's centre
   * @property {number} curtain 0 to 1
   */

  /** Absolute, the same for every layer, head and picture. A row varies more than the mean of many rows. */
  const SCALES = Object.freeze({ cell: 8, box: 4, to: 8, blocks: 4, received: 2 });
  const CHOICES = Object.freeze({
    mode: ["pair", "slider", "difference"], strip: ["off", "levels", "heads"],
    view: ["cell", "box", "to", "blocks", "received"], of: ["weight", "contribution", "content", "position"],
  });
  const RANGES = { opacity: [0, 1], dim: [0, 0.8], curtain: [0, 1] };
  const SCALE = [1e-3, 1e6], ZOOM = [1, 256]; // as halo_vis.view has them

  /** The state that a viewer starts with. @returns {State} */
  const start = () => ({
    level: "P4", left: "layer10", mode: "pair", strip: "off", view: "cell", head: -1, of: "weight", point: [0, 0], box: null,
    scales: { ...SCALES }, log: false, opacity: 0.6, dim: 0, map: "",
    show: { boxes: true, labels: true, grid: false, window: true }, zoom: { scale: 1, x: 0, y: 0 }, curtain: 0.5,
  });

  const isNumber = (v, low, high) => typeof v === "number" && v >= low && v <= high; // NaN is neither
  const isScale = (v) => v === "auto" || isNumber(v, ...SCALE);
  const isObject = (v) => typeof v === "object" && v !== null && !Array.isArray(v);

  /** The cell that a partial state names, as a point. @returns {[number, number]|null} */
  function pointOf(layer, y, x) {
    const there = layer && Number.isInteger(y) && Number.isInteger(x) && y >= 0 && x >= 0 && y < layer.height && x < layer.width;
    return there ? T().centreOf(layer, y, x) : null;
  }

  /**
   * A state with those fields of another that are valid here; the rest stays as it was.
   * @param {object} data @param {State} state @param {object} wanted fields as controller.state() gives them @returns {State}
   */
  function restore(data, state, wanted) {
    const { scene } = HaloVis;
    const out = structuredClone(state);
    const has = isObject(wanted) ? wanted : {};
    if (typeof has.level === "string" && scene.layerOf(data, has.level)) out.level = has.level;
    if (scene.sources(data).includes(has.left)) out.left = has.left;
    for (const [name, list] of Object.entries(CHOICES)) if (list.includes(has[name])) out[name] = has[name];
    const layer = scene.layerOf(data, out.level);
    if (Number.isInteger(has.head) && has.head >= -2 && has.head < (layer?.heads ?? 0)) out.head = has.head;
    const point = pointOf(layer, has.y, has.x);
    const box = "box" in has ? has.box : point ? null : out.box; // a cell alone is no longer that of the box
    out.box = boxOf(data, out, box);
    if (point) out.point = point;
    else if (out.box && "box" in has) out.point = scene.queryOf(data, scene.chosen(data, out)).point;
    if (isObject(has.scales)) for (const view of CHOICES.view) if (isScale(has.scales[view])) out.scales[view] = has.scales[view];
    if (isScale(has.scale)) out.scales[scene.settle(data, out).view] = has.scale;
    if (typeof has.log === "boolean") out.log = has.log;
    for (const [name, [low, high]] of Object.entries(RANGES)) if (isNumber(has[name], low, high)) out[name] = has[name];
    if (typeof has.map === "string" && Object.hasOwn(data.colors ?? {}, has.map)) out.map = has.map;
    if (isObject(has.show)) for (const name of Object.keys(out.show)) if (typeof has.show[name] === "boolean") out.show[name] = has.show[name];
    const { width, height } = data.frame;
    const { scale, x = null, y = null } = isObject(has.zoom) ? has.zoom : {};
    const within = (v, size) => v === null || isNumber(v, 0, size);
    if (isNumber(scale, ...ZOOM) && within(x, width) && within(y, height)) out.zoom = { scale, x: x ?? width / 2, y: y ?? height / 2 };
    return out;
  }

  /** A box that exists, or null. */
  function boxOf(data, state, box) {
    if (!isObject(box) || !["baseline", "halo"].includes(box.side) || !Number.isInteger(box.index)) return null;
    const clean = { side: box.side, index: box.index };
    return HaloVis.scene.chosen(data, { ...state, box: clean }) ? clean : null;
  }

  const round = (v) => String(Math.round(v * 1000) / 1000);

  /**
   * The short form of a state: the cell, and what differs from the start.
   * @param {object} now as controller.state() gives it
   * @param {object} [instead] what this picture starts with instead, such as {map: the first}
   * @returns {string} "level=P4&y=3&x=7&head=0"
   */
  function writeView(now, instead = {}) {
    const usual = { ...start(), ...instead };
    const out = new URLSearchParams();
    for (const name of ["level", "y", "x"]) out.set(name, String(now[name]));
    for (const name of ["left", "mode", "strip", "view", "head", "of", "map"])
      if (now[name] !== undefined && now[name] !== usual[name]) out.set(name, String(now[name]));
    if (now.box) out.set("box", `${now.box.side}.${now.box.index}`);
    const scales = Object.entries(now.scales ?? {}).filter(([view, v]) => v !== usual.scales[view]);
    if (scales.length) out.set("scales", scales.map((pair) => pair.join(".")).join(","));
    if (now.log) out.set("log", "1");
    for (const name of Object.keys(RANGES)) if (now[name] !== undefined && now[name] !== usual[name]) out.set(name, round(now[name]));
    const shown = Object.entries(now.show ?? {}).filter(([name, v]) => v !== usual.show[name]);
    if (shown.length) out.set("show", shown.map(([name, v]) => `${name}.${Number(v)}`).join(","));
    if (now.zoom && now.zoom.scale > 1) out.set("zoom", [now.zoom.scale, now.zoom.x, now.zoom.y].map(round).join(","));
    return out.toString();
  }

  const asNumber = (text) => (/^-?\d+(\.\d+)?$/.test(text ?? "") ? Number(text) : NaN);

  /** "cell.4,to.auto" -> {cell: 4, to: "auto"} */
  function pairs(text, read) {
    return Object.fromEntries(text.split(",").map((part) => {
      const dot = part.indexOf(".");
      return [part.slice(0, dot), read(part.slice(dot + 1))];
    }));
  }

  /**
   * What a link asks for: fields for `restore`, which refuses those that make no sense.
   * @param {string} text with or without "?" or "#" in front @returns {object}
   */
  function parseView(text) {
    const given = new URLSearchParams(String(text).replace(/^[?#]/, ""));
    const out = {};
    for (const name of ["level", "left", "mode", "strip", "view", "of", "map"]) if (given.has(name)) out[name] = given.get(name);
    for (const name of ["y", "x", "head", ...Object.keys(RANGES)]) {
      const v = asNumber(given.get(name));
      if (!Number.isNaN(v)) out[name] = v;
    }
    const box = /^(baseline|halo)\.(\d+)$/.exec(given.get("box") ?? "");
    if (box) out.box = { side: box[1], index: Number(box[2]) };
    if (given.has("log")) out.log = given.get("log") === "1";
    if (given.has("scales")) out.scales = pairs(given.get("scales"), (v) => (v === "auto" ? v : asNumber(v)));
    if (given.has("show")) out.show = pairs(given.get("show"), (v) => v === "1");
    const zoom = (given.get("zoom") ?? "").split(",").map(asNumber);
    if (zoom.length === 3) out.zoom = { scale: zoom[0], x: zoom[1], y: zoom[2] };
    return out;
  }

  HaloVis.scene = Object.assign(HaloVis.scene ?? {}, { SCALES, CHOICES, start, restore, writeView, parseView });
})();
