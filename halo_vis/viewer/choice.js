// What a person has chosen, and what choosing does to the view state. No DOM: `changed` is told afterwards.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});

  const TRAIL = 60; // cells remembered for an animation
  const FOLLOWS = ["cell", "to"]; // views that follow the pointer

  class Choice {
    /** @param {{changed: () => void, zoomed: () => void, most: (data: object) => number}} options most: the deepest zoom */
    constructor({ changed, zoomed, most }) {
      Object.assign(this, { changed, zoomed, most });
      this.data = null;
      /** View state; what was chosen survives the next picture. */
      this.state = HaloVis.scene.start();
      this.hover = null;
      this.pinned = false;
      /** @type {Array<{level: string, y: number, x: number}>} */
      this.trail = [];
      this.grip = null; // the view that a pinch began with
      this.walk = { at: -1, free: false }; // Tab's way through the boxes
    }

    /** The state that is shown: the pointer's cell comes before the chosen one until something is pinned. */
    get seen() {
      const { state, hover, pinned } = this;
      const follows = FOLLOWS.includes(state.view) || (state.view === "box" && !state.box);
      return hover && !pinned && follows ? { ...state, point: hover, box: null } : state;
    }

    /** Other data: what of the state makes no sense there starts anew. */
    begin(data) {
      Object.assign(this, { data, grip: null, trail: [] });
      this.arrive();
    }

    /** The whole photo, with the strongest detection selected, unpinned; what these data do not have starts anew. */
    arrive() {
      const { scene, tensors, zoom } = HaloVis;
      const { data, state } = this;
      const { meta, pack, frame } = data;
      const maps = Object.keys(data.colors), sources = scene.sources(data);
      if (!maps.includes(state.map)) state.map = maps[0] ?? "";
      if (!sources.includes(state.left)) state.left = sources[0];
      const names = [...Object.keys(pack.levels), ...Object.keys(pack.global.halo)];
      if (!names.includes(state.level)) state.level = ["P4", "P3", "P5"].find((n) => names.includes(n)) ?? names[0] ?? "";
      Object.assign(state, { box: null, zoom: zoom.fit(frame), point: tensors.toInput(frame, frame.width / 2, frame.height / 2) });
      const first = scene.strongest(data);
      if (first && scene.lists(data, state.left)[first.side] === meta.detections[first.side]) this.aim(first.side, first.index);
      Object.assign(this, { pinned: false, hover: null });
    }

    end() { Object.assign(this, { data: null, hover: null, grip: null, trail: [] }); }

    // -------------------------------------------------------------- cells and boxes

    /** @param {[number, number]} point x, y in pixels of the network's input */
    point(point) {
      Object.assign(this.state, { point, box: null });
      Object.assign(this, { pinned: true, hover: null });
      this.reveal();
      this.changed();
    }

    /** A detection: the cell that produced it. */
    box(side, index) {
      this.aim(side, index);
      Object.assign(this, { pinned: true, hover: null });
      this.reveal();
      this.changed();
    }

    aim(side, index) {
      const { data, state } = this;
      const { scene } = HaloVis;
      const { level, point } = scene.queryOf(data, scene.lists(data, state.left)[side][index]);
      if (Object.hasOwn(data.pack.levels, level) && scene.layerOf(data, state.level)?.kind !== "global") state.level = level;
      Object.assign(state, { point, box: { side, index } });
    }

    /** @throws {RangeError} there is no such layer or cell */
    cell(level, y, x) {
      this.point(HaloVis.tensors.centreOf(this.layer(level, y, x), y, x));
    }

    /** A layer that is to be shown from now on, if it has that cell. */
    layer(level, y, x) {
      const found = HaloVis.scene.layerOf(this.data, level);
      if (!found) throw new RangeError(`there is no ${level} here`);
      HaloVis.tensors.check(found, y, x, -1);
      this.state.level = level;
      return found;
    }

    /** Nothing is pinned or selected any more; Tab leaves the panel. */
    release() {
      Object.assign(this, { pinned: false, hover: null });
      this.state.box = null;
      this.walk.free = true;
      this.changed();
    }

    /** Tab: the next box of a panel, the most certain first. @returns {boolean} false: there is none */
    next(side, back) {
      const list = HaloVis.scene.lists(this.data, this.state.left)[side];
      const order = list.map((_, i) => i).sort((a, b) => list[b].conf - list[a].conf);
      const to = Math.min(this.walk.at, order.length) + (back ? -1 : 1);
      if (this.walk.free || to < 0 || to >= order.length) return false;
      this.walk.at = to;
      this.box(side, order[to]);
      return true;
    }

    /** A panel has the focus: Tab walks through its boxes from the first, or from the last backwards. */
    enter(back) { this.walk = { at: back ? Infinity : -1, free: false }; }

    // -------------------------------------------------------------- controls

    /** One of several. @param {string} name @param {string} value as its button has it */
    choose(name, value) {
      const { data, state } = this;
      const { lists } = HaloVis.scene;
      const before = lists(data, state.left).baseline;
      state[name] = name === "head" ? Number(value) : value;
      // Another source on the left may bring other boxes.
      if (state.box?.side === "baseline" && lists(data, state.left).baseline !== before) state.box = null;
      this.changed();
    }

    /** A number or a name. */
    set(name, value) {
      const { data, state } = this;
      if (name === "scale") state.scales[HaloVis.scene.settle(data, state).view] = value === "auto" ? value : Number(value);
      else state[name] = name === "map" ? value : Number(value);
      this.changed();
    }

    /** Weights or contributions. @returns {boolean} false: this layer has weights only */
    toggle() {
      if (HaloVis.scene.settle(this.data, this.state).layer?.kind !== "halo") return false;
      this.state.of = this.state.of === "contribution" ? "weight" : "contribution";
      this.changed();
      return true;
    }

    /**
     * What makes no sense here is left out.
     * @param {object|string} wanted some fields of `snapshot`, the rest stays; or a link, which is a whole view: what it
     *   does not say is as at the start
     */
    restore(wanted) {
      const { scene, zoom } = HaloVis;
      const whole = typeof wanted === "string";
      const fields = whole ? scene.parseView(wanted) : wanted ?? {};
      if (whole) {
        Object.assign(this.state, scene.start());
        this.arrive();
      }
      Object.assign(this.state, scene.restore(this.data, this.state, fields));
      this.state.zoom = zoom.limit(this.data.frame, this.state.zoom, this.most(this.data));
      this.hover = null;
      if (typeof fields.pinned === "boolean") this.pinned = fields.pinned;
      this.changed();
    }

    // -------------------------------------------------------------- zoom

    /** @param {{scale: number, x: number, y: number}} view */
    look(view) {
      this.state.zoom = HaloVis.zoom.limit(this.data.frame, view, this.most(this.data));
      this.zoomed();
    }

    /** Zooms at a place of the panel; without one at the chosen cell, if it is in view. */
    zoomBy(factor, u, v) {
      const { zoom, tensors } = HaloVis;
      const { frame } = this.data;
      const at = zoom.toPanel(frame, this.state.zoom, ...tensors.toPhoto(frame, ...this.seen.point));
      const [x, y] = u !== undefined ? [u, v] : at.every((share) => share >= 0 && share <= 1) ? at : [0.5, 0.5];
      this.look(zoom.zoomAt(frame, this.state.zoom, factor, x, y, this.most(this.data)));
    }

    pinch({ from, to, first }) {
      if (first) this.grip = this.state.zoom;
      this.look(HaloVis.zoom.pinch(this.data.frame, this.grip, from, to, this.most(this.data)));
    }

    /** What was chosen must be in view. */
    reveal() {
      const { data, state } = this;
      const { scene, tensors, zoom } = HaloVis;
      const { layer } = scene.settle(data, state);
      if (!layer || state.zoom.scale <= 1) return;
      const [y, x] = tensors.cellAt(layer, ...state.point);
      state.zoom = zoom.reveal(data.frame, state.zoom, tensors.cellsRect(data.frame, layer, y, x, y + 1, x + 1), this.most(data));
    }

    /** Remembers the view. @returns {() => void} brings it back, unless other data have come */
    keep() {
      const { data, state, pinned, hover, trail } = this;
      const kept = structuredClone(state);
      return () => {
        if (this.data !== data) return;
        Object.assign(state, kept);
        Object.assign(this, { pinned, hover, trail });
        this.changed();
      };
    }

    // -------------------------------------------------------------- what is told

    /** The cells that were shown, for an animation of them. @param {{level: string, y: number, x: number}|null} cell */
    remember(cell) {
      if (!cell) return;
      const { level, y, x } = cell, last = this.trail.at(-1);
      if (last && last.level === level && last.y === y && last.x === x) return;
      this.trail = [...this.trail.slice(1 - TRAIL), { level, y, x }];
    }

    /** View state as a plain object; `restore` and Python's View.from_state read it. */
    snapshot() {
      const { data, state, seen, pinned } = this;
      const { tensors } = HaloVis;
      const is = data ? HaloVis.scene.settle(data, seen) : { view: state.view, of: state.of, head: state.head, layer: null };
      const [y, x] = is.layer ? tensors.cellAt(is.layer, ...seen.point) : [0, 0];
      const { point, ...rest } = structuredClone(seen);
      return {
        ...rest, view: is.view, head: is.head, of: is.of, y, x, scale: state.scales[is.view], pinned,
        photo: data ? tensors.toPhoto(data.frame, ...point) : null,
      };
    }
  }

  HaloVis.Choice = Choice;
})();
