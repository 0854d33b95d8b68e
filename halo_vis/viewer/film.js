// A film (WebM) of what is shown: the sheet drawn onto a canvas, recorded by the browser as it changes.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});

  const FPS = 30;
  const LONG = 600; // CSS pixels of a panel's longer side: a size that a processor can encode while it draws
  const TYPES = ["video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm"];
  const BITS = 8; // per pixel and second
  const ENCODER_MS = 10_000; // how long an encoder is waited for

  /** What this browser can record. @returns {string|null} */
  function type() {
    if (typeof MediaRecorder !== "function" || typeof HTMLCanvasElement !== "function" || !HTMLCanvasElement.prototype.captureStream) return null;
    return TYPES.find((name) => MediaRecorder.isTypeSupported(name)) ?? null;
  }

  const even = (n) => 2 * Math.ceil(n / 2); // the codecs halve the colours' resolution

  /**
   * A canvas on which what is shown can be drawn again and again. Its size is that of the first frame.
   * @param {() => {data: object, state: object, lang: string, look: {rgb: Uint8Array, diverging?: Uint8Array}}} current what is shown now
   */
  function composer(current) {
    const measure = HaloVis.sheet.measurer();
    const canvas = document.createElement("canvas");
    const ctx = canvas.getContext("2d", { alpha: false });
    let kept = { image: null, photo: null };

    /** The photo once at about the film's size, so that a frame does not scale the whole file. */
    function photoOf({ photo, image: given, frame }, zoom) {
      const near = photo?.near ?? given; // a reduced copy, unless a view goes closer than that
      const image = zoom * frame.width > 1.02 * (near.naturalWidth || near.width) ? given : near;
      const width = Math.round(frame.width * zoom), height = Math.round(frame.height * zoom);
      if (zoom > 1 || width * height > 16e6) return image;
      if (kept.image !== image || kept.photo.width !== width) {
        kept = { image, photo: HaloVis.paint.sheet(width, height) };
        const target = kept.photo.getContext("2d");
        target.imageSmoothingQuality = "high";
        target.drawImage(image, 0, 0, width, height);
      }
      return kept.photo;
    }

    function draw() {
      const { data, state, lang, look } = current();
      const sheet = HaloVis.sheet.layout(data, state, lang, measure, { long: LONG, film: true });
      if (canvas.dataset.sized !== "true") Object.assign(canvas, { width: even(sheet.width), height: even(sheet.height) }).dataset.sized = "true";
      // Another picture or a slider instead of two panels: as large as it fits.
      const ratio = Math.min(canvas.width / sheet.width, canvas.height / sheet.height);
      ctx.setTransform(1, 0, 0, 1, 0, 0);
      ctx.fillStyle = "#fff";
      ctx.fillRect(0, 0, canvas.width, canvas.height);
      ctx.setTransform(ratio, 0, 0, ratio, Math.floor((canvas.width - sheet.width * ratio) / 2), 0);
      HaloVis.sheet.draw(ctx, sheet, { ...look, photo: photoOf(data, sheet.zoom * ratio) }, { ratio });
    }

    return {
      canvas, draw,
      /** The same picture once more: a browser takes a frame only of a canvas that was drawn on. */
      again: () => { ctx.setTransform(1, 0, 0, 1, 0, 0); ctx.drawImage(canvas, 0, 0, 1, 1, 0, 0, 1, 1); },
      lang: () => current().lang,
      about: () => { const { data, state } = current(); return HaloVis.provenance.of(data, state); },
    };
  }

  /** One recording. */
  class Film {
    /** @param {object} composer begins with what is shown now @throws where the browser cannot record */
    start(composer) {
      const chosen = type();
      if (!chosen) throw new Error(HaloVis.say(composer.lang(), "errorFilm"));
      Object.assign(this, { composer, changed: true, parts: [], began: performance.now() });
      composer.draw();
      const { canvas } = composer;
      this.stream = canvas.captureStream(0);
      [this.track] = this.stream.getVideoTracks();
      this.recorder = new MediaRecorder(this.stream, { mimeType: chosen, videoBitsPerSecond: BITS * canvas.width * canvas.height });
      this.recorder.ondataavailable = ({ data }) => { if (data.size) this.parts.push(data); };
      this.ended = new Promise((resolve, reject) => {
        this.recorder.onstop = resolve;
        this.recorder.onerror = ({ error }) => reject(error ?? new Error(HaloVis.say(composer.lang(), "errorRecording")));
      });
      this.ended.catch(() => {}); // said by stop()
      this.recorder.start(1000);
      this.timer = setInterval(() => this.tick(), 1000 / FPS);
    }

    get running() { return this.recorder?.state === "recording"; }

    /** What is shown has changed: the next frame is drawn anew. */
    frame() { this.changed = true; }

    tick() {
      if (!this.running) return;
      try {
        if (this.changed) this.composer.draw();
        else this.composer.again();
      } catch {
        this.composer.again(); // a picture that is being replaced cannot be drawn: the last frame stays a little longer
      }
      this.changed = false;
      this.track.requestFrame();
    }

    /** Until the encoder has handed out what is drawn now: what it still has when the recorder stops would be lost. */
    async encoded() {
      const over = new Promise((resolve) => setTimeout(resolve, ENCODER_MS, true));
      const ended = this.ended.then(() => true, () => true);
      // The first piece may be of frames before; meanwhile frames go on.
      for (let pieces = 0; pieces < 2 && this.running;) {
        const piece = new Promise((resolve) => this.recorder.addEventListener("dataavailable", ({ data }) => resolve(data.size), { once: true }));
        this.recorder.requestData();
        const size = await Promise.race([piece, over, ended]);
        if (size === true) return;
        if (size) pieces += 1;
        else await new Promise((resolve) => setTimeout(resolve, 1000 / FPS));
      }
    }

    /** @returns {Promise<Blob>} the film with its duration and, as its COMMENT, where it comes from */
    async stop() {
      this.changed = true;
      this.tick(); // the last view is in it, however short it was shown
      await this.encoded();
      clearInterval(this.timer);
      if (this.running) this.recorder.stop();
      await this.ended;
      this.track.stop();
      const bytes = new Uint8Array(await new Blob(this.parts).arrayBuffer());
      const about = { ...this.composer.about(), film: { seconds: (performance.now() - this.began) / 1000, fps: FPS } };
      return new Blob([HaloVis.webm.finish(bytes, { COMMENT: JSON.stringify(about), TITLE: String(about.picture ?? "") }, 1000 / FPS)], { type: "video/webm" });
    }
  }

  /**
   * A film of a path of the cursor.
   * @param {{select: (level: string, y: number, x: number) => void, composer: () => object}} controller
   * @param {Array<[string, number, number]>} cells level, y, x @param {number} msPerStep how long each is shown
   * @returns {Promise<Blob>}
   */
  async function path(controller, cells, msPerStep) {
    if (!cells.length) throw new RangeError("a path needs at least one cell");
    const film = new Film();
    controller.select(...cells[0]);
    film.start(controller.composer());
    try {
      const began = performance.now();
      for (let n = 1; n <= cells.length; n++) {
        await new Promise((done) => setTimeout(done, Math.max(0, began + n * msPerStep - performance.now())));
        if (n === cells.length) break;
        controller.select(...cells[n]);
        film.frame();
      }
    } catch (error) {
      await film.stop().catch(() => {}); // what went wrong first is what is said
      throw error;
    }
    return film.stop();
  }

  HaloVis.film = { Film, FPS, composer, path, supported: () => type() !== null };
})();
