// Where an export comes from and what it shows: plain JSON values, the same in every kind of file.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});

  /** What one panel shows. @param {object} plan from HaloVis.scene.plan */
  function panel({ side, source, layer, view, head, of, y, x, heat }) {
    const out = { side, source: source ?? side, layer: layer?.name ?? null };
    if (!layer || !heat) return out;
    Object.assign(out, { view, head, of, y, x, height: layer.height, width: layer.width, stride: layer.stride, heads: layer.heads });
    if (layer.kind === "halo") Object.assign(out, { block_size: layer.block, halo_size: layer.halo, mask: layer.mask });
    return Object.assign(out, {
      largest: heat.max, per_map: heat.auto, log: Boolean(heat.log), difference: Boolean(heat.diverging),
    });
  }

  /** View state as `controller.state()` has it, so that `controller.restore` and Python's `View.from_state` read it again. */
  function view(data, state) {
    const is = HaloVis.scene.settle(data, state);
    const [y, x] = is.layer ? HaloVis.tensors.cellAt(is.layer, ...state.point) : [0, 0];
    const { level, left, mode, strip, log, map, opacity, dim, curtain, show, scales, zoom, box } = state;
    const all = {
      level, left, mode, strip, view: is.view, head: is.head, of: is.of, y, x, box: box ? { ...box } : null, scale: scales[is.view],
      scales: { ...scales }, log, map, opacity, dim, show: { ...show }, zoom: zoom ? { ...zoom } : undefined, curtain,
    };
    return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
  }

  /**
   * Enough to make an export again: pair, weights, picture, settings, and the view.
   * @param {object} data @param {object} state
   * @param {object[]} [plans] both panels, where they are there already
   * @returns {object} heads count from 0 (-1 mean, -2 maximum), cells are y, x
   */
  function of(data, state, plans = HaloVis.scene.SIDES.map((side) => HaloVis.scene.plan(data, state, side))) {
    const { provenance, picture, version } = data.meta;
    return {
      ...provenance, image: { width: picture.width, height: picture.height }, payload: version,
      view: view(data, state), panels: plans.map(panel),
    };
  }

  HaloVis.provenance = { of, view };
})();
