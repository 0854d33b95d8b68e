// The viewer itself: view state, the elements of explorer.html, events. `HaloVis.mount` is the only entry.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  /** Mounted viewers by element, so that mounting again replaces instead of doubling the listeners. */
  HaloVis.mounted ??= new WeakMap();

  const SIDES = /** @type {const} */ (["baseline", "halo"]);
  const REACH = { mouse: 6, pen: 8, touch: 12 }; // CSS pixels around the border of a box that still mean the box

  /** @returns {Promise<Response>} */
  async function get(url, signal) {
    const response = await fetch(url, { signal });
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`.trim());
    return response;
  }

  /** @param {string|HTMLImageElement} source @returns {Promise<HTMLImageElement>} */
  async function picture(source) {
    const image = typeof source === "string" ? Object.assign(new Image(), { decoding: "async", src: source }) : source;
    await image.decode();
    return image;
  }

  /**
   * Fetches and decodes one payload.
   * @param {{image: string|HTMLImageElement, tensors: string|ArrayBuffer|null, meta: string|object}} payload
   * @param {AbortSignal} signal
   */
  async function load(payload, signal) {
    const read = (value, how) => (typeof value === "string" ? get(value, signal).then((r) => r[how]()) : value);
    const [meta, buffer, image] = await Promise.all([
      read(payload.meta, "json"), read(payload.tensors ?? new ArrayBuffer(0), "arrayBuffer"), picture(payload.image),
    ]);
    const colors = Object.fromEntries(Object.entries(meta.colormaps ?? {}).map(([name, hex]) => [name, HaloVis.paint.colors(hex)]));
    return { meta, image, colors, pack: HaloVis.tensors.open(buffer, meta), frame: HaloVis.tensors.frame(meta.picture, meta.input) };
  }

  /**
   * @param {HTMLElement} root an element that holds the markup of explorer.html
   * @param {{lang?: string}} [options]
   */
  function mount(root, options = {}) {
    const host = root?.matches?.(".halo-explorer") ? root : root?.querySelector?.(".halo-explorer");
    if (!host?.querySelector('canvas[data-side="halo"]')) throw new Error(HaloVis.say("en", "noMarkup"));
    HaloVis.mounted.get(host)?.destroy();

    const { scene, paint, readout, tensors } = HaloVis;
    const part = (name) => host.querySelector(`[data-part="${name}"]`);
    const canvases = Object.fromEntries(SIDES.map((side) => [side, host.querySelector(`canvas[data-side="${side}"]`)]));
    const stop = new AbortController();
    const on = (target, type, handler) => target.addEventListener(type, handler, { signal: stop.signal });
    let lang = HaloVis.language(options.lang ?? document.documentElement.lang);
    let data = null, ready = false, ticket = 0, loading = new AbortController();
    let hover = null, pinned = false, waiting = 0, speaking = 0, base = null;
    let labels = { baseline: [], halo: [] }, plans = {};
    /** @type {object} view state; what a person has chosen survives the next picture */
    const state = {
      level: "P4", left: "layer10", view: "cell", head: -1, of: "weight", point: [0, 0], box: null,
      scales: { ...scene.SCALES }, opacity: 0.6, map: "", show: { boxes: true, labels: true, grid: false, window: true },
    };
    const say = (key, values) => HaloVis.say(lang, key, values);
    /** The state that is shown: the pointer's cell comes before the chosen one until something is pinned. */
    const seen = () => (hover && !pinned && state.view === "cell" ? { ...state, point: hover, box: null } : state);
    const rgb = () => data.colors[state.map] ?? Object.values(data.colors)[0] ?? new Uint8Array(768).map((_, i) => Math.floor(i / 3));

    // -------------------------------------------------------------- drawing

    /** The photo at the size of the canvas, so that a hover copies pixels instead of scaling the file. */
    function photo(width, height) {
      if (base?.image === data.image && base.sheet.width === width && base.sheet.height === height) return base.sheet;
      const sheet = paint.sheet(width, height);
      const ctx = sheet.getContext("2d");
      ctx.imageSmoothingQuality = "high";
      ctx.drawImage(data.image, 0, 0, width, height);
      base = { image: data.image, sheet };
      return sheet;
    }

    function draw() {
      cancelAnimationFrame(waiting);
      waiting = 0;
      if (!data) return;
      const now = seen();
      for (const side of SIDES) {
        const canvas = canvases[side];
        const wide = canvas.clientWidth;
        const plan = (plans[side] = scene.plan(data, now, side));
        readout.showBar(part(`bar-${side}`), lang, plan.heat, rgb(), state.map);
        if (!wide) continue; // a hidden tab: the observer draws when it is shown
        const width = Math.max(1, Math.round(wide * devicePixelRatio));
        const height = Math.max(1, Math.round(canvas.clientHeight * devicePixelRatio));
        if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
        const ctx = canvas.getContext("2d");
        const zoom = wide / plan.width;
        ctx.setTransform(width / wide, 0, 0, height / (plan.height * zoom), 0, 0);
        labels[side] = paint.panel(ctx, plan, { photo: photo(width, height), rgb: rgb(), zoom });
      }
      const figures = scene.numbers(data, now, plans.halo.view === "cell" ? plans.halo.weights : null);
      readout.showFigures(host, lang, figures);
      readout.showBadges(part("badges"), lang, scene.badges(data, now, figures));
      clearTimeout(speaking);
      speaking = setTimeout(() => { part("spoken").textContent = readout.sentence(lang, figures); }, 400);
    }

    const redraw = () => { waiting ||= requestAnimationFrame(draw); };

    // -------------------------------------------------------------- controls

    /** Brings every control in line with the state, then draws. */
    function sync(now = false) {
      readout.showActions(host, Boolean(data), pinned);
      if (!data) return;
      readout.showControls(host, lang, data, state);
      readout.markTable(host, data, state.box);
      if (now) draw();
      else redraw();
    }

    function message(key, values) {
      const line = part("message");
      line.hidden = !key;
      line.textContent = key ? say(key, values) : "";
      line.dataset.text = key === "failed" ? "" : key ?? "";
    }

    function setReady(value) {
      ready = value;
      for (const element of new Set([root, host])) element.dataset.ready = String(value);
      host.setAttribute("aria-busy", String(!value && !part("message").hidden && part("message").dataset.text === "loading"));
    }

    function setLang(next) {
      lang = HaloVis.language(next);
      readout.translate(host, lang);
      if (data) readout.showTable(host, lang, data);
      sync();
    }

    // -------------------------------------------------------------- choosing

    function choosePoint(point) {
      Object.assign(state, { point, box: null });
      pinned = true;
      hover = null;
      sync();
    }

    function chooseBox(side, index, pin = true) {
      const detection = data.meta.detections[side][index];
      const { level, point } = scene.queryOf(data, detection);
      if (data.pack.levels[level] && !scene.GLOBAL.includes(state.level)) state.level = level;
      Object.assign(state, { point, box: { side, index } });
      pinned = pin;
      hover = null;
      sync();
    }

    function select(level, y, x) {
      if (!ready) throw new Error("nothing is shown yet");
      const layer = scene.layerOf(data, level);
      if (!layer) throw new RangeError(`there is no ${level} here`);
      tensors.check(layer, y, x, -1);
      state.level = level;
      choosePoint(tensors.centreOf(layer, y, x));
      draw();
    }

    function release() {
      pinned = false;
      state.box = null;
      sync();
    }

    function onPoint(event, side) {
      if (!ready) return;
      const { px, py, zoom } = paint.under(event, canvases[side], data.frame);
      const reach = REACH[event.pointerType] ?? REACH.mouse;
      const index = paint.hit(plans[side].boxes, labels[side], px, py, zoom, reach);
      if (index >= 0) chooseBox(side, index);
      else choosePoint(tensors.toInput(data.frame, px, py));
    }

    function onHover(event, side) {
      if (!ready || event.pointerType === "touch") return;
      const { px, py, zoom } = paint.under(event, canvases[side], data.frame);
      const index = paint.hit(plans[side].boxes, labels[side], px, py, zoom);
      canvases[side].style.cursor = index >= 0 ? "pointer" : "";
      if (pinned) return;
      hover = tensors.toInput(data.frame, px, py);
      redraw();
    }

    function onKey(event) {
      if (!ready || event.altKey || event.ctrlKey || event.metaKey) return;
      const point = scene.step(data, seen(), event.key, event.shiftKey);
      if (!point) return;
      event.preventDefault();
      choosePoint(point);
    }

    async function download() {
      const button = host.querySelector('[data-act="save"]');
      button.disabled = true;
      button.textContent = say("saving");
      try {
        const blob = await renderPNG();
        const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: HaloVis.save.fileName(data, state) });
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 10000);
      } catch (error) {
        message("failed", { why: error.message });
      } finally {
        button.textContent = say("save");
        button.disabled = !data;
      }
    }

    /** @returns {Promise<Blob>} what is shown, at the photo's full resolution */
    async function renderPNG() {
      if (!data) throw new Error("nothing is shown yet");
      return HaloVis.save.render(data, seen(), lang, rgb());
    }

    // -------------------------------------------------------------- life

    /** @returns {Promise<boolean>} false: a later show() has taken over */
    async function show(payload) {
      const mine = ++ticket;
      loading.abort();
      loading = new AbortController();
      message("loading");
      setReady(false);
      let next;
      try {
        next = await load(payload, loading.signal);
      } catch (error) {
        if (mine !== ticket) return false;
        for (const side of SIDES) canvases[side].width = canvases[side].height = 1;
        data = base = null;
        message("failed", { why: error.message });
        setReady(false);
        sync();
        throw error;
      }
      if (mine !== ticket) return false;
      data = next;
      base = hover = null;
      const { meta, pack } = data;
      host.style.setProperty("--hx-aspect", String(meta.picture.width / meta.picture.height));
      const maps = Object.keys(data.colors);
      if (!maps.includes(state.map)) state.map = maps[0] ?? "";
      readout.colorMaps(host, maps);
      if (state.left !== "off" && !pack.global.baseline[state.left]) state.left = Object.keys(pack.global.baseline)[0] ?? "off";
      const names = [...Object.keys(pack.levels), ...Object.keys(pack.global.halo)];
      if (!names.includes(state.level)) state.level = ["P4", "P3", "P5"].find((n) => names.includes(n)) ?? names[0] ?? "";
      message(null);
      setReady(true);
      const first = scene.strongest(data);
      if (first) chooseBox(first.side, first.index, false);
      else {
        choosePoint(tensors.toInput(data.frame, meta.picture.width / 2, meta.picture.height / 2));
        pinned = false;
      }
      readout.showTable(host, lang, data);
      sync(true);
      globalThis.haloExplorer = api;
      host.dispatchEvent(new CustomEvent("halo-ready", { bubbles: true, detail: controller }));
      return true;
    }

    function destroy() {
      ticket++;
      loading.abort();
      stop.abort();
      observer.disconnect();
      cancelAnimationFrame(waiting);
      clearTimeout(speaking);
      setReady(false);
      data = base = null;
      if (HaloVis.mounted.get(host) === controller) HaloVis.mounted.delete(host);
      if (globalThis.haloExplorer === api) delete globalThis.haloExplorer;
    }

    /** View state as a plain object. */
    function snapshot() {
      const now = seen();
      const is = data ? scene.settle(data, now) : { view: state.view, of: state.of, head: state.head, layer: null };
      const [y, x] = is.layer ? tensors.cellAt(is.layer, ...now.point) : [0, 0];
      return {
        level: state.level, left: state.left, view: is.view, head: is.head, of: is.of, y, x, opacity: state.opacity,
        scale: state.scales[is.view], map: state.map, box: now.box ? { ...now.box } : null, pinned, lang, show: { ...state.show },
        photo: data ? tensors.toPhoto(data.frame, ...now.point) : null,
      };
    }

    function row(level, y, x, head = -1, of = "weight") {
      if (!ready) throw new Error("nothing is shown yet");
      const layer = scene.layerOf(data, level);
      if (!layer) throw new RangeError(`there is no ${level} here`);
      return tensors.row(layer, y, x, head, of);
    }

    const api = { get ready() { return ready; }, row, select, state: snapshot };
    const controller = { show, setLang, destroy, renderPNG, select, row, state: snapshot };

    for (const side of SIDES) {
      on(canvases[side], "click", (event) => onPoint(event, side));
      on(canvases[side], "pointermove", (event) => onHover(event, side));
      on(canvases[side], "pointerleave", () => { if (hover) { hover = null; redraw(); } });
      on(canvases[side], "keydown", onKey);
    }
    on(host, "click", (event) => {
      const button = event.target.closest("button");
      const choice = button?.closest("[data-choice]")?.dataset.choice;
      if (button?.dataset.act === "save") download();
      else if (choice && ready) { state[choice] = choice === "head" ? Number(button.dataset.value) : button.dataset.value; sync(); }
    });
    on(host, "input", ({ target }) => {
      const { set, show: flag, act } = target.dataset;
      if (!ready) return;
      if (act === "follow") { pinned = !target.checked; hover = null; }
      else if (flag) state.show[flag] = target.checked;
      else if (set === "opacity") state.opacity = Number(target.value);
      else if (set === "map") state.map = target.value;
      else if (set === "scale") state.scales[scene.settle(data, state).view] = target.value === "auto" ? "auto" : Number(target.value);
      sync();
    });
    const pick = (event) => {
      const line = event.target.closest("tr");
      if (ready && line) chooseBox(line.dataset.side, Number(line.dataset.index));
    };
    on(part("rows"), "click", pick);
    on(part("rows"), "keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(event); }
    });
    on(host, "keydown", (event) => { if (event.key === "Escape" && ready) release(); });
    on(window, "resize", redraw);
    const observer = new ResizeObserver(redraw);
    for (const side of SIDES) observer.observe(canvases[side]);

    HaloVis.mounted.set(host, controller);
    globalThis.haloExplorer = api;
    setLang(lang);
    setReady(false);
    return controller;
  }

  HaloVis.mount = mount;
})();
