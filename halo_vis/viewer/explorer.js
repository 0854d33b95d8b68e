// The viewer itself: brings data, choices and the elements of explorer.html together. `HaloVis.mount` is the only entry.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  /** Mounted viewers by element, so that mounting again replaces instead of doubling the listeners. */
  HaloVis.mounted ??= new WeakMap();

  const SLICE_MS = 6; // of a frame, for maps that take longer than one
  const SPEAK_MS = 400; // a pause of the pointer before its numbers are read out
  const BRIEF_MS = 5; // small views that take no longer are drawn with every frame
  const STEP_MS = 250; // per cell, in a film of them

  /**
   * @param {HTMLElement} root an element that holds the markup of explorer.html
   * @param {{lang?: string, link?: (view: string, meta: object) => string|null, exports?: string[]}} [options]
   *   link: the full address of a view, where it is not this document's; exports: kinds to offer, of those possible here
   */
  function mount(root, options = {}) {
    const host = root?.matches?.(".halo-explorer") ? root : root?.querySelector?.(".halo-explorer");
    if (!host?.querySelector('canvas[data-side="halo"]')) throw new Error(HaloVis.say("en", "noMarkup"));
    HaloVis.mounted.get(host)?.destroy();

    const { scene, readout, controls, tensors, zoom } = HaloVis;
    const part = (name) => host.querySelector(`[data-part="${name}"]`);
    const stop = new AbortController();
    const { signal } = stop;
    const on = (target, type, handler) => target.addEventListener(type, handler, { signal });
    let lang = HaloVis.language(options.lang ?? document.documentElement.lang);
    let data = null, ready = false, ticket = 0, loading = new AbortController();
    let waiting = 0, speaking = 0, later = 0, due = 0, renamed = false, listed = null, backwards = false;
    const failed = new Map(), fetching = new Set(); // sources of the left panel

    const redraw = () => { waiting ||= requestAnimationFrame(draw); };
    const stage = new HaloVis.Stage(host, redraw);
    const choice = new HaloVis.Choice({ changed: () => sync(), zoomed: () => { showZoom(); redraw(); }, most: (of) => stage.most(of) });
    const { state } = choice;
    const figuresView = new readout.Figures(host);
    const order = new controls.Order(host);
    const hint = new HaloVis.Hint(part("hint"), signal);
    const strip = new HaloVis.strip.Strip(part("strip"), ({ level, head }) => {
      hint.dismiss();
      if (state.strip === "levels") choice.choose("level", level);
      else choice.choose("head", head);
    }, signal);
    const say = (key, values) => HaloVis.say(lang, key, values);
    const rgb = () => data.colors[state.map] ?? Object.values(data.colors)[0] ?? new Uint8Array(768).map((_, i) => Math.floor(i / 3));
    const shown = () => (data ? { data, state: choice.seen, lang, look: { rgb: rgb(), diverging: data.diverging ?? rgb(), hashed: hashed.checked } } : null);
    const hashed = host.querySelector('[data-act="hashed"]');
    const takeaway = new HaloVis.takeaway.TakeAway(host, {
      current: shown, link: (view) => fullLink(view ?? controller.link()), kinds: options.exports, signal,
    });

    // -------------------------------------------------------------- drawing

    function draw() {
      cancelAnimationFrame(waiting);
      waiting = 0;
      if (!data) return;
      const { state: now, look } = shown();
      const more = scene.work(data, now, SLICE_MS);
      const plans = { baseline: scene.plan(data, now, "baseline"), halo: scene.plan(data, now, "halo") };
      stage.draw(data, now, plans, look.rgb);
      for (const side of scene.SIDES) {
        const { heat } = plans[side];
        if (heat?.diverging) readout.showBar(part(`bar-${side}`), lang, heat, look.diverging, "diverging");
        else readout.showBar(part(`bar-${side}`), lang, heat, look.rgb, state.map);
      }
      drawStrip(now, look.rgb);
      const figures = scene.numbers(data, now, plans.halo.view === "cell" ? plans.halo.weights : null);
      figuresView.show(lang, figures, data.meta.answers);
      readout.showBadges(part("badges"), lang, scene.badges(data, now, figures));
      if (!renamed) {
        renamed = true;
        controls.nameCanvases(host, lang, data, now, plans);
        controls.showNotes(host, lang, plans);
      }
      choice.remember(figures);
      clearTimeout(speaking);
      speaking = setTimeout(() => readout.put(part("spoken"), readout.sentence(lang, figures, scene.chosen(data, now), plans.halo.layer?.heads)), SPEAK_MS);
      takeaway.frame();
      if (more) redraw();
    }

    /** The small views: a third of the time at most while the pointer moves, so that the large ones keep up with it. */
    function drawStrip(now, rgbNow) {
      const began = performance.now();
      clearTimeout(later);
      if (choice.hover && began < due) { later = setTimeout(redraw, due - began); return; }
      strip.show(lang, data, state.strip, scene.thumbs(data, now), rgbNow, stage.width);
      const cost = performance.now() - began;
      due = performance.now() + (cost > BRIEF_MS ? 2 * cost : 0);
    }

    /** Brings every control in line with the state, then draws. */
    function sync(now = false) {
      controls.showActions(host, Boolean(data), choice.pinned);
      if (!data || choice.data !== data) return;
      controls.showControls(host, lang, data, state);
      order.arrange();
      fetchSource();
      const list = [lang, scene.lists(data, state.left).matches];
      if (listed?.[0] !== list[0] || listed[1] !== list[1]) readout.showTable(host, lang, data, state.left);
      listed = list;
      readout.markTable(host, data, state.box, state.left);
      showZoom();
      renamed = false;
      if (now) draw();
      else redraw();
    }

    function showZoom() {
      stage.settle(lang, state);
      controls.showZoom(host, lang, state.zoom.scale, stage.most(data));
    }

    /** Fetches what the left panel is to show, when it is asked for the first time. */
    function fetchSource() {
      const id = state.left;
      const other = Object.hasOwn(data.pack.others, id) ? data.pack.others[id] : null;
      const missing = other && !other.levels;
      const line = part("status-baseline");
      line.hidden = !missing;
      readout.put(line, missing ? say(failed.has(id) ? "sourceFailed" : "sourceLoading", { why: failed.get(id) }) : "");
      if (!missing || failed.has(id) || fetching.has(id)) return;
      const mine = data;
      fetching.add(id);
      HaloVis.load.get(data.urls[id], loading.signal).then((answer) => answer.arrayBuffer())
        .then((buffer) => { if (data === mine) tensors.addFile(data.pack, id, buffer); })
        .catch((error) => { if (data === mine) failed.set(id, error.message); })
        .finally(() => { if (data === mine) { fetching.delete(id); sync(); } });
    }

    function message(key, values) {
      const line = part("message");
      line.hidden = !key;
      line.textContent = key ? say(key, values) : "";
      line.dataset.text = key === "failed" ? "" : key ?? "";
    }

    /** Says that another picture is being made, while the one that is shown can still be explored. @param {boolean} on */
    function busy(on) {
      if (on) message("working");
      else if (part("message").dataset.text === "working") message(data ? null : "empty");
    }

    function setReady(value) {
      ready = value;
      for (const element of new Set([root, host])) element.dataset.ready = String(value);
      host.setAttribute("aria-busy", String(!value && !part("message").hidden && part("message").dataset.text === "loading"));
      hint.show(value);
    }

    function setLang(wanted) {
      lang = HaloVis.language(wanted);
      controls.translate(host, lang);
      sync();
    }

    // -------------------------------------------------------------- intents

    /** What an intent of pointer, wheel or key leads to. @returns {boolean|void} false: to nothing */
    function act(intent, side) {
      if (!ready) return false;
      const { type } = intent;
      if (type === "hover") follow(intent, side);
      else if (type === "leave") { if (choice.hover) { choice.hover = null; redraw(); } }
      else if (type === "tap" || type === "explore") take(intent, side);
      else if (type === "grab" || type === "drop") stage.canvases[side].style.cursor = type === "grab" ? "grabbing" : "";
      else if (type === "pan") choice.look(zoom.pan(data.frame, state.zoom, intent.du, intent.dv));
      else if (type === "pinch") choice.pinch(intent);
      else if (type === "zoom") choice.zoomBy(intent.factor, intent.u, intent.v);
      else if (type === "fit") choice.look(zoom.fit(data.frame));
      else if (type === "free") choice.release();
      else return byKey(intent, side);
      return true;
    }

    /** Keys that choose something. @returns {boolean} */
    function byKey({ type, key, far, back }, side) {
      if (type === "walk" && !choice.next(side, back)) return false;
      if (type === "toggle" && !choice.toggle()) return false;
      if (type === "step") choice.point(scene.step(data, choice.seen, key, far));
      hint.dismiss();
      return true;
    }

    /** The pointer is over a cell. */
    function follow(intent, side) {
      const { px, py, index } = stage.under(data, state, intent, side);
      const { style } = stage.canvases[side];
      const cursor = index >= 0 ? "pointer" : "";
      if (style.cursor !== cursor) style.cursor = cursor;
      if (choice.pinned) return;
      choice.hover = tensors.toInput(data.frame, px, py);
      if (choice.seen !== state) redraw(); // else the view does not follow the pointer
    }

    /** A click, or a finger that moves: a box, where one is meant, else the cell. */
    function take(intent, side) {
      const { px, py, side: at, index } = stage.under(data, state, intent, side);
      hint.dismiss();
      choice.walk.free = false;
      if (intent.type === "explore" || index < 0) return choice.point(tensors.toInput(data.frame, px, py));
      const list = scene.lists(data, state.left)[at];
      choice.walk.at = list.filter((d) => d.conf > list[index].conf).length;
      choice.box(at, index);
    }

    // -------------------------------------------------------------- life

    function need() { if (!ready) throw new Error("nothing is shown yet"); }

    const fullLink = (view) => (options.link && data ? options.link(view, data.meta) : HaloVis.takeaway.address(view));

    /** @returns {Promise<boolean>} false: a later show() has taken over */
    async function show(payload) {
      const mine = ++ticket;
      loading.abort();
      loading = new AbortController();
      message("loading");
      setReady(false);
      let next;
      try {
        next = await HaloVis.load.load(payload, loading.signal);
      } catch (error) {
        if (mine !== ticket) return false;
        replace(null);
        message("failed", { why: error.message });
        setReady(false);
        sync();
        throw error;
      }
      if (mine !== ticket) {
        next.photo.close();
        return false;
      }
      replace(next);
      host.style.setProperty("--hx-aspect", String(data.frame.width / data.frame.height));
      controls.colorMaps(host, Object.keys(data.colors));
      message(null);
      setReady(true);
      choice.begin(data);
      takeaway.offer();
      sync(true);
      globalThis.haloExplorer = api;
      host.dispatchEvent(new CustomEvent("halo-ready", { bubbles: true, detail: controller }));
      return true;
    }

    /** Puts other data, or none, in place of the old. */
    function replace(next) {
      data?.photo.close();
      data = next;
      listed = null;
      failed.clear();
      fetching.clear();
      choice.end();
      stage.clear();
      strip.clear();
      if (data) data.photo.onsharper = redraw;
    }

    function destroy() {
      ticket++;
      loading.abort();
      stop.abort();
      stage.destroy();
      order.destroy();
      takeaway.destroy();
      cancelAnimationFrame(waiting);
      clearTimeout(speaking);
      clearTimeout(later);
      setReady(false);
      replace(null);
      if (HaloVis.mounted.get(host) === controller) HaloVis.mounted.delete(host);
      if (globalThis.haloExplorer === api) delete globalThis.haloExplorer;
    }

    // -------------------------------------------------------------- for others

    function select(level, y, x) {
      need();
      choice.cell(level, y, x);
      draw();
    }

    function restore(wanted) {
      need();
      const { left } = state;
      choice.restore(wanted);
      if (state.left !== left) failed.delete(state.left);
      sync(true);
    }

    /** @param {"png"|"svg"|"csv"|"webm"} kind webm: the cells of `trail()` one after the other @returns {Promise<{blob: Blob, name: string}>} */
    async function exportAs(kind) {
      need();
      if (kind !== "webm") return takeaway.make(kind);
      const cells = choice.trail.map(({ level, y, x }) => [level, y, x]);
      const back = choice.keep();
      try {
        const blob = await HaloVis.film.path({ select, composer: () => HaloVis.film.composer(shown) }, cells, STEP_MS);
        return { blob, name: HaloVis.save.fileName(data, state, "webm") };
      } finally {
        back();
      }
    }

    function row(level, y, x, head = -1, of = "weight") {
      need();
      const layer = scene.layerOf(data, level);
      if (!layer) throw new RangeError(`there is no ${level} here`);
      return tensors.row(layer, y, x, head, of);
    }

    const snapshot = () => ({ ...choice.snapshot(), lang });
    const link = () => scene.writeView(snapshot(), { map: Object.keys(data.colors)[0] });
    const api = { get ready() { return ready; }, row, select, state: snapshot, restore, link };
    const controller = {
      show, busy, setLang, destroy, select, row, state: snapshot, restore, link, export: exportAs,
      trail: () => choice.trail.map((step) => ({ ...step })), renderPNG: () => exportAs("png").then(({ blob }) => blob),
    };

    // -------------------------------------------------------------- events

    HaloVis.gestures.attach(host, stage.canvases, { act, zoomed: () => ready && state.zoom.scale > 1, signal });
    stage.slide((share) => {
      state.curtain = Math.min(1, Math.max(0, share));
      stage.settle(lang, state);
      redraw();
    }, signal);
    for (const canvas of Object.values(stage.canvases)) {
      on(canvas, "focus", () => { choice.enter(backwards); backwards = false; });
      on(canvas, "pointerdown", () => { backwards = false; });
    }
    on(window, "keydown", (event) => { if (event.key === "Tab") backwards = event.shiftKey; });
    controls.listen(host, {
      on, ready: () => ready,
      choose(name, value) {
        hint.dismiss();
        if (name === "left") failed.delete(value);
        choice.choose(name, value);
      },
      set: (name, value) => choice.set(name, value),
      flag(name, value) { state[name] = value; sync(); },
      show(name, value) { state.show[name] = value; sync(); },
      follow(value) { Object.assign(choice, { pinned: !value, hover: null }); sync(); },
      zoom: (way) => act(way === "fit" ? { type: "fit" } : { type: "zoom", factor: way === "in" ? zoom.STEP : 1 / zoom.STEP }, "halo"),
      pick(side, index) { hint.dismiss(); choice.box(side, index); },
      jump(level, y, x) { hint.dismiss(); select(level, y, x); },
    });
    on(window, "resize", redraw);

    HaloVis.mounted.set(host, controller);
    globalThis.haloExplorer = api;
    setLang(lang);
    setReady(false);
    takeaway.offer();
    return controller;
  }

  HaloVis.mount = mount;
})();
