// The menu "Save": files of what is shown, a film, a link. Offers only what can be had here.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});

  const FILM_S = 20; // a film is never longer
  const WRITERS = { png: () => HaloVis.save.png, svg: () => HaloVis.svg.make, csv: () => HaloVis.csv.make };

  /** Kinds of export that this page and browser can make. @returns {string[]} */
  function possible() {
    return [...Object.keys(WRITERS), ...(HaloVis.film.supported() ? ["webm"] : []), "link"];
  }

  /** The address of this document with a view, or null where it has none of its own (a frame in a notebook). */
  function address(view) {
    const here = location.href.split("#")[0];
    return /^(about|data|blob):/.test(here) ? null : `${here}#${view}`;
  }

  class TakeAway {
    /**
     * @param {HTMLElement} host
     * @param {{current: () => {data: object, state: object, lang: string, look: object}|null, link: (view?: string) => string|null,
     *   kinds?: string[], signal: AbortSignal}} options current: what is shown; link: the full address of it
     */
    constructor(host, { current, link, kinds = possible(), signal }) {
      Object.assign(this, { host, current, link, kinds: kinds.filter((kind) => possible().includes(kind)) });
      this.menu = host.querySelector(".hx-menu");
      this.save = host.querySelector('[data-act="save"]');
      this.stopper = host.querySelector('[data-act="stop"]');
      this.told = host.querySelector('[data-part="told"]');
      this.field = host.querySelector('[data-part="address"]');
      /** The film being taken, and what it showed last: a picture may be replaced meanwhile. @type {{film: object, last: object}|null} */
      this.take = null;
      const on = (target, type, handler) => target.addEventListener(type, handler, { signal });
      on(this.save, "click", () => this.download("png"));
      on(this.stopper, "click", () => this.finish());
      on(this.menu, "click", (event) => {
        const kind = event.target.closest("[data-export]")?.dataset.export;
        if (!kind) return;
        this.menu.open = false;
        this.menu.querySelector("summary").focus();
        if (kind === "webm") this.record();
        else if (kind === "link") this.copy();
        else this.download(kind);
      });
    }

    say(key, values) { return HaloVis.say(this.current()?.lang ?? this.host.lang, key, values); }

    tell(key, values) { this.told.textContent = key ? this.say(key, values) : ""; }

    /** Shows only the kinds that can be had. */
    offer() {
      const kinds = this.kinds.filter((kind) => kind !== "link" || this.link("") !== null);
      for (const button of this.menu.querySelectorAll("[data-export]")) button.hidden = !kinds.includes(button.dataset.export);
      this.menu.hidden = !kinds.some((kind) => kind !== "png");
      this.save.hidden = !kinds.includes("png");
    }

    /** @param {"png"|"svg"|"csv"} kind @returns {Promise<{blob: Blob, name: string}>} */
    async make(kind) {
      const now = this.current();
      if (!now) throw new Error("nothing is shown yet");
      const { data, state, lang, look } = now;
      if (!Object.hasOwn(WRITERS, kind)) throw new Error(`there is no export ${kind}; there are ${Object.keys(WRITERS).join(", ")}, webm`);
      return { blob: await WRITERS[kind]()(data, state, lang, look), name: HaloVis.save.fileName(data, state, kind) };
    }

    async download(kind) {
      this.tell("saving");
      this.save.disabled = true;
      try {
        const { blob, name } = await this.make(kind);
        this.hand(blob, name);
      } catch (error) {
        this.tell("exportFailed", { why: error.message });
      } finally {
        this.save.disabled = !this.current();
      }
    }

    /** Gives a file to the person. */
    hand(blob, name) {
      const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
      this.tell("recorded", { name });
    }

    // -------------------------------------------------------------- film

    /** Begins a film of what is shown; it ends by its button, or by itself. */
    record() {
      if (this.take || !this.current()) return;
      const take = { film: new HaloVis.film.Film(), last: this.current() };
      try {
        take.film.start(HaloVis.film.composer(() => this.current() ?? take.last));
      } catch (error) {
        return void this.tell("exportFailed", { why: error.message });
      }
      this.take = take;
      this.tell("");
      const began = performance.now();
      const count = () => {
        const seconds = (performance.now() - began) / 1000;
        this.stopper.textContent = this.say("recording", { n: Math.floor(seconds) });
        if (seconds >= FILM_S) this.finish();
      };
      this.stopper.hidden = false;
      this.stopper.focus();
      count();
      this.timer = setInterval(count, 250);
    }

    /** What is shown has changed. */
    frame() {
      if (!this.take) return;
      this.take.last = this.current() ?? this.take.last;
      this.take.film.frame();
    }

    async finish() {
      if (!this.take) return;
      const { film, last } = this.take;
      const { data, state } = this.current() ?? last;
      this.rest();
      this.tell("saving");
      try {
        this.hand(await film.stop(), HaloVis.save.fileName(data, state, "webm"));
      } catch (error) {
        this.tell("exportFailed", { why: error.message });
      }
    }

    /** No film any more. */
    rest() {
      clearInterval(this.timer);
      this.take = null;
      this.stopper.hidden = true;
      this.save.focus({ preventScroll: true });
    }

    // -------------------------------------------------------------- link

    /** Copies the link; where the browser refuses, shows it selected in a field. */
    async copy() {
      const link = this.link();
      this.field.hidden = true;
      try {
        await navigator.clipboard.writeText(link);
        this.tell("copied");
      } catch {
        this.field.hidden = false;
        this.field.value = link;
        this.field.focus();
        this.field.select();
        this.tell("copyYourself");
      }
    }

    destroy() {
      clearInterval(this.timer);
      this.take?.film.stop().catch(() => {});
      this.take = null;
      this.stopper.hidden = true;
    }
  }

  HaloVis.takeaway = { TakeAway, possible, address, FILM_S };
})();
