// What is said beside the picture, and where keys lead: numbers, badges, steps. Plain objects, no DOM. Adds to HaloVis.scene.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const T = () => HaloVis.tensors;

  /**
   * Numbers of the selected cell in the right panel, always of its row.
   * @param {Float32Array|null} [drawn] that row, if it is at hand
   */
  function numbers(data, state, drawn = null) {
    const { scene } = HaloVis;
    const { layer, head, of } = scene.settle(data, state);
    if (!layer) return null;
    const [y, x] = T().cellAt(layer, ...state.point);
    const weights = T().shares(drawn ?? T().row(layer, y, x, head, of), head);
    let total = 0;
    for (const p of weights) total += p;
    const { inside } = T().windowOf(layer, y, x);
    return {
      level: state.level, y, x, head, of, empty: total === 0,
      mass: layer.kind === "halo" ? T().mass(layer, y, x, weights) : null,
      entropy: T().entropy(layer, y, x, weights),
      distance: T().distance(layer, y, x, weights, data.frame),
      received: receivedBy(data, state, layer, y, x),
      top: T().top(layer, y, x, weights).filter((t) => t.value > 0).map((t) => ({ ...t, times: t.value * inside })),
      outside: outsideOf(data, state, layer, y, x, head),
      answer: total > 0 ? T().answer(layer, y, x, weights, data.meta.answers, data.frame) : null,
    };
  }

  /** What the cell receives, in the view of it. */
  function receivedBy(data, state, layer, y, x) {
    const part = HaloVis.scene.partOf(data, state, "halo");
    if (part.view !== "received") return null;
    const { heat } = HaloVis.heats.heatOf(data, part, null);
    const value = heat?.values[y * layer.width + x];
    return Number.isFinite(value) ? value : null;
  }

  /** Shares of the row, in weights and in contributions, that fall outside the selected box. */
  function outsideOf(data, state, layer, y, x, head) {
    const detection = HaloVis.scene.chosen(data, state);
    if (!detection) return null;
    const share = (of) => T().outside(layer, y, x, T().shares(T().row(layer, y, x, head, of), head), detection.xyxy, data.frame);
    return { weight: share("weight"), contribution: layer.kind === "halo" && !layer.addsNothing ? share("contribution") : null };
  }

  /** Keys of the warnings that belong to what is shown. @returns {string[]} */
  function badges(data, state, figures) {
    const { layer, head, of } = HaloVis.scene.settle(data, state);
    const left = HaloVis.scene.partOf(data, state, "baseline");
    const pair = data.meta.pair ?? {};
    const out = [];
    const halo = layer?.kind === "halo";
    if (pair.memorised) out.push("badgeMemorised");
    if (pair.untrained && halo) out.push("badgeUntrained");
    if (halo && layer.mask === "published") out.push("badgePublished");
    if (halo && layer.addsNothing && of === "contribution") out.push("badgeNothing");
    else if (figures && !figures.empty && figures.entropy > 0.98) out.push("badgeUniform");
    if (figures?.mass && figures.mass.padding > 0.005) out.push("badgePadding");
    if (layer?.heads > 1 && head === -2) out.push("badgeMax");
    if (left.layer && left.source === "control") out.push("badgeControl");
    if (left.layer && left.source === "mask") out.push(left.layer.mask === "valid" ? "badgeMaskValid" : "badgeMaskPublished");
    return out;
  }

  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

  /**
   * The point that an arrow key leads to: the next cell (far: a block on), kept on cells that show some of the photo.
   * @returns {[number, number]|null} null: not an arrow key
   */
  function step(data, state, key, far) {
    const way = STEPS[key];
    const layer = HaloVis.scene.layerOf(data, state.level);
    if (!way || !layer) return null;
    const { frame } = data;
    const size = far ? layer.block ?? 4 : 1;
    const at = T().cellAt(layer, ...state.point);
    const first = T().cellAt(layer, ...T().toInput(frame, 0, 0));
    const last = T().cellAt(layer, ...T().toInput(frame, frame.width - 1e-6, frame.height - 1e-6));
    const [y, x] = [0, 1].map((i) => Math.min(last[i], Math.max(first[i], at[i] + way[i] * size)));
    return T().centreOf(layer, y, x);
  }

  /** The strongest detection, halo first. @returns {{side: Side, index: number}|null} */
  function strongest(data) {
    for (const side of /** @type {Side[]} */ (["halo", "baseline"])) {
      const list = data.meta.detections?.[side] ?? [];
      let best = -1;
      list.forEach((d, i) => { if (best < 0 || d.conf > list[best].conf) best = i; });
      if (best >= 0) return { side, index: best };
    }
    return null;
  }

  HaloVis.scene = Object.assign(HaloVis.scene ?? {}, { numbers, badges, step, strongest });
})();
