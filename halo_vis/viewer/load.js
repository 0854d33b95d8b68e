// From a payload to the data that everything else reads, and the photo at the sizes that the screen needs.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});

  const NEAR = 2048; // pixels: the longer side of the copy that is kept; the file itself is decoded while zoomed in
  const BANDS = 12;
  const SLICE = 1 << 19; // characters of base64 decoded at a time, a multiple of 4: a few milliseconds

  /** @returns {Promise<Response>} */
  async function get(url, signal) {
    const response = await fetch(url, { signal });
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`.trim());
    return response;
  }

  /** Base64 as bytes, in slices that do not hold up the page. @param {string} base64 @param {string} [type] @returns {Promise<Blob>} */
  async function decode(base64, type = "") {
    const parts = [];
    for (let at = 0; at < base64.length; at += SLICE) {
      const text = atob(base64.slice(at, at + SLICE));
      const part = new Uint8Array(text.length);
      for (let i = 0; i < part.length; i++) part[i] = text.charCodeAt(i);
      parts.push(part);
      await new Promise((next) => setTimeout(next));
    }
    return new Blob(parts, { type });
  }

  /** A data URL as a blob: a page that allows no connection may not fetch even these. @returns {Promise<Blob>} */
  async function unpack(url) {
    const comma = url.indexOf(",");
    const [type, ...how] = url.slice(5, comma).split(";");
    const content = url.slice(comma + 1);
    return how.includes("base64") ? decode(content, type) : new Blob([decodeURIComponent(content)], { type });
  }

  /** The bytes of a picture; null where the browser shows it but gives no bytes (a file beside a page on disk). */
  async function bytes(source, signal) {
    if (source.startsWith("data:")) return unpack(source);
    try {
      return await (await get(source, signal)).blob();
    } catch (error) {
      if (error instanceof TypeError) return null;
      throw error;
    }
  }

  /** @param {HTMLImageElement} image @returns {Promise<HTMLImageElement>} its size is known; its pixels may not be decoded yet */
  const arrived = (image) => new Promise((resolve, reject) => {
    if (image.complete && image.naturalWidth) return resolve(image);
    image.addEventListener("load", () => resolve(image), { once: true });
    image.addEventListener("error", () => reject(new Error("the picture cannot be decoded")), { once: true });
  });

  /**
   * A photo. `near` is a copy of at most NEAR pixels, decoded and reduced without holding up the page; `source` gives
   * the sharper file where a view needs it and it is there.
   */
  class Photo {
    /** @param {HTMLImageElement} image @param {Blob|null} blob @param {string} address to be given back, or "" */
    constructor(image, blob, address) {
      Object.assign(this, { image, blob, address, near: image, full: null, wanted: false, closed: false });
      this.reduced = false;
      /** @type {() => void} the sharper file has arrived */
      this.onsharper = () => {};
    }

    /** @param {string|HTMLImageElement} source @param {AbortSignal} signal @returns {Promise<Photo>} */
    static async open(source, signal) {
      const given = typeof source !== "string";
      const blob = given ? null : await bytes(source, signal);
      const address = blob ? URL.createObjectURL(blob) : "";
      const image = given ? source : Object.assign(new Image(), { decoding: "async", src: address || source });
      const photo = new Photo(image, blob, address);
      const decoding = photo.decode(); // beside the element, which says whether it is a picture at all
      try {
        await arrived(image);
        await photo.reduce(await decoding);
      } catch (error) {
        decoding.then((full) => full?.close());
        photo.close();
        throw error;
      }
      return photo;
    }

    /** @param {ImageBitmap|null} full */
    async reduce(full) {
      if (!full) return void await this.image.decode();
      const share = NEAR / Math.max(full.width, full.height);
      if (share >= 1) return void (this.near = full);
      const near = HaloVis.paint.sheet(Math.round(full.width * share), Math.round(full.height * share));
      const ctx = near.getContext("2d");
      ctx.imageSmoothingQuality = "high";
      // In bands: all of it at once, or createImageBitmap with a size, would hold up the page for a tenth of a second.
      for (let band = 0; band < BANDS; band++) {
        ctx.save();
        ctx.beginPath();
        ctx.rect(0, Math.floor((near.height * band) / BANDS), near.width, Math.ceil(near.height / BANDS) + 1);
        ctx.clip();
        ctx.drawImage(full, 0, 0, near.width, near.height);
        ctx.restore();
        await new Promise((next) => setTimeout(next));
      }
      Object.assign(this, { near, reduced: true });
      full.close();
    }

    /** The file's pixels, decoded beside the page's own work; null where the browser cannot. */
    async decode() {
      if (!this.blob || typeof createImageBitmap !== "function") return null;
      return createImageBitmap(this.blob).catch(() => null);
    }

    /** What to draw where the whole photo would be this many device pixels wide. @returns {{image: CanvasImageSource, copy: boolean}} */
    source(pixels) {
      if (!this.reduced || pixels <= this.near.width * 1.02) return { image: this.near, copy: this.reduced };
      if (!this.full && !this.wanted) {
        this.wanted = true;
        this.decode().then((full) => {
          if (this.closed || !this.wanted) return full?.close();
          this.full = full ?? this.image;
          this.onsharper();
        });
      }
      return { image: this.full ?? this.near, copy: !this.full };
    }

    /** Gives the file's pixels back: the whole photo is in view again. */
    relax() {
      this.full?.close?.();
      this.full = null;
      this.wanted = false;
    }

    close() {
      this.closed = true;
      this.relax();
      if (this.near !== this.image) this.near.close?.();
      if (this.address) URL.revokeObjectURL(this.address);
    }
  }

  /**
   * Fetches and decodes one payload.
   * @param {{image: string|HTMLImageElement, tensors: string|ArrayBuffer|null, meta: string|object,
   *   others?: Object<string, string|ArrayBuffer>}} payload
   * @param {AbortSignal} signal
   */
  async function load(payload, signal) {
    const { paint, tensors } = HaloVis;
    const read = (value, how) => (typeof value === "string" ? get(value, signal).then((r) => r[how]()) : value);
    const others = Object.entries(payload.others ?? {}).filter(([, value]) => value);
    const here = Object.fromEntries(others.filter(([, value]) => typeof value !== "string"));
    const opening = Photo.open(payload.image, signal); // first: of all that is fetched it takes longest to decode
    const packing = Promise.all([read(payload.meta, "json"), read(payload.tensors ?? new ArrayBuffer(0), "arrayBuffer")])
      .then(([meta, buffer]) => ({ meta, pack: tensors.open({ tensors: buffer, ...here }, meta) })); // while the photo is decoded
    try {
      const [{ meta, pack }, photo] = await Promise.all([packing, opening]);
      return {
        meta, photo, pack, image: photo.image,
        colors: Object.fromEntries(Object.entries(meta.colormaps ?? {}).map(([name, hex]) => [name, paint.colors(hex)])),
        diverging: meta.diverging ? paint.colors(meta.diverging) : null,
        frame: tensors.frame(meta.picture, meta.input),
        urls: Object.fromEntries(others.filter(([, value]) => typeof value === "string")),
      };
    } catch (error) {
      opening.then((photo) => photo.close(), () => {}); // it may still be on its way
      throw error;
    }
  }

  HaloVis.load = { get, load, decode, Photo, unpack };
})();
