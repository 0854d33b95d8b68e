// The view of a panel: which part of the photo it shows. Pure; both panels share one view.
// A view is {scale, x, y}: scale 1 shows the whole photo, (x, y) is the photo pixel at the panel's centre.
// u and v are shares of the panel's width and height, 0 to 1.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});

  /**
   * @typedef {{scale: number, x: number, y: number}} View
   * @typedef {{width: number, height: number}} Size photo pixels
   */

  const CELL = 64; // CSS pixels that a cell of the finest layer reaches at the deepest zoom
  const LEAST = 4; // the deepest zoom is never less than this
  const NOTCH = 0.0022; // of a mouse wheel, per pixel: a notch of 100 is a quarter more
  const PINCH = 0.011; // of a trackpad's pinch, which browsers send as a wheel with ctrl
  const LINE = 33; // pixels of a wheel that counts in lines
  const STEP = 1.5; // of the buttons and keys + and -

  /** The whole photo. @param {Size} size @returns {View} */
  const fit = ({ width, height }) => ({ scale: 1, x: width / 2, y: height / 2 });

  /**
   * The deepest zoom: a cell of the finest layer is CELL CSS pixels wide.
   * @param {number} cell its width in photo pixels @param {number} panel CSS pixels @param {Size} size
   */
  const most = (cell, panel, size) => Math.max(LEAST, panel > 0 && cell > 0 ? (CELL * size.width) / (panel * cell) : LEAST);

  /** A view within its limits: nothing beyond the photo is shown. @param {Size} size @param {View} view @param {number} top */
  function limit(size, view, top = Infinity) {
    const number = (value, other) => (Number.isFinite(value) ? value : other);
    const scale = Math.min(Math.max(1, top), Math.max(1, number(view.scale, 1)));
    const keep = (value, length) => {
      const half = length / scale / 2;
      return Math.min(length - half, Math.max(half, number(value, length / 2)));
    };
    return { scale, x: keep(view.x, size.width), y: keep(view.y, size.height) };
  }

  /** The part of the photo that a view shows. @param {Size} size @param {View} view @returns {{x: number, y: number, w: number, h: number}} */
  function visible(size, view) {
    const w = size.width / view.scale, h = size.height / view.scale;
    return { x: view.x - w / 2, y: view.y - h / 2, w, h };
  }

  /** Photo pixel at a place of the panel. @returns {[number, number]} x, y */
  function toPhoto(size, view, u, v) {
    const part = visible(size, view);
    return [part.x + u * part.w, part.y + v * part.h];
  }

  /** Place of a photo pixel in the panel, as shares of its sides. @returns {[number, number]} u, v */
  function toPanel(size, view, x, y) {
    const part = visible(size, view);
    return [(x - part.x) / part.w, (y - part.y) / part.h];
  }

  /** The view of a scale that shows photo pixel (x, y) at the place (u, v). */
  const holding = (size, scale, x, y, u, v, top) => {
    const within = limit(size, { scale, x: 0, y: 0 }, top).scale;
    return limit(size, { scale: within, x: x + (0.5 - u) * (size.width / within), y: y + (0.5 - v) * (size.height / within) }, top);
  };

  /** Zooms by a factor; what lies under (u, v) stays there, as far as the photo's border allows. */
  function zoomAt(size, view, factor, u = 0.5, v = 0.5, top = Infinity) {
    const [x, y] = toPhoto(size, view, u, v);
    return holding(size, view.scale * factor, x, y, u, v, top);
  }

  /** Moves the photo by a share of the panel's sides, as a hand would. */
  const pan = (size, view, du, dv, top = Infinity) =>
    limit(size, { scale: view.scale, x: view.x - du * (size.width / view.scale), y: view.y - dv * (size.height / view.scale) }, top);

  /**
   * Two fingers: what lay between them at first lies between them now, spread as they are.
   * @param {View} first the view when they touched down
   * @param {{u: number, v: number, apart: number}} from @param {{u: number, v: number, apart: number}} to
   */
  function pinch(size, first, from, to, top = Infinity) {
    const [x, y] = toPhoto(size, first, from.u, from.v);
    const factor = from.apart > 0 && to.apart > 0 ? to.apart / from.apart : 1;
    return holding(size, first.scale * factor, x, y, to.u, to.v, top);
  }

  /** Moves a view just so far that a rectangle of the photo is in it; its middle, where it does not fit. */
  function reveal(size, view, rect, top = Infinity) {
    const part = visible(size, view);
    const shift = (at, length, start, room) => {
      if (length >= room) return at + length / 2 - (start + room / 2);
      return Math.min(0, at - start) + Math.max(0, at + length - (start + room));
    };
    return limit(size, {
      scale: view.scale, x: view.x + shift(rect.x, rect.w, part.x, part.w), y: view.y + shift(rect.y, rect.h, part.y, part.h),
    }, top);
  }

  /** What one event of the wheel multiplies the scale by. @param {{deltaY: number, deltaMode?: number, ctrlKey?: boolean}} event */
  function wheelFactor({ deltaY, deltaMode = 0, ctrlKey = false }) {
    const pixels = deltaY * (deltaMode === 1 ? LINE : deltaMode === 2 ? 400 : 1);
    const factor = Math.exp(-pixels * (ctrlKey && Math.abs(pixels) < 50 ? PINCH : NOTCH));
    return Math.min(2, Math.max(0.5, factor));
  }

  HaloVis.zoom = { CELL, STEP, fit, most, limit, visible, toPhoto, toPanel, zoomAt, pan, pinch, reveal, wheelFactor };
})();
