// The bytes of a WebM file: what MediaRecorder leaves out is put in (duration, tags). No DOM.
// A file is a tree of elements: id, size, content (RFC 8794); names and ids are those of Matroska (RFC 9559).
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});

  const ID = {
    header: 0x1a45dfa3, segment: 0x18538067, seekHead: 0x114d9b74, info: 0x1549a966, tracks: 0x1654ae6b, cluster: 0x1f43b675,
    cues: 0x1c53bb6b, chapters: 0x1043a770, attachments: 0x1941a469, tags: 0x1254c367, nothing: 0xec,
    scale: 0x2ad7b1, duration: 0x4489, timestamp: 0xe7, simpleBlock: 0xa3, blockGroup: 0xa0, block: 0xa1,
    tag: 0x7373, targets: 0x63c0, simpleTag: 0x67c8, tagName: 0x45a3, tagString: 0x4487,
  };
  /** Parts of a segment: one of these ends a cluster whose size was not known when it was begun. */
  const PARTS = new Set([ID.seekHead, ID.info, ID.tracks, ID.cluster, ID.cues, ID.chapters, ID.attachments, ID.tags]);

  /** @typedef {{id: number, start: number, from: number, end: number, open: boolean}} Element start: its id, from: its content */

  /**
   * @param {Uint8Array} bytes @param {number} at @param {number} limit where the parent ends
   * @returns {Element}
   */
  function element(bytes, at, limit) {
    const length = (first) => Math.clz32(first) - 23;
    const idLength = length(bytes[at]);
    const sizeAt = at + idLength;
    const sizeLength = length(bytes[sizeAt]);
    const from = sizeAt + sizeLength;
    if (idLength > 4 || !(sizeLength <= 8) || from > limit) throw new Error(`no element begins at byte ${at} of the film`);
    let id = 0;
    for (let i = at; i < sizeAt; i++) id = id * 256 + bytes[i];
    let size = bytes[sizeAt] & (0xff >> sizeLength);
    let open = size === 0xff >> sizeLength;
    for (let i = sizeAt + 1; i < from; i++) {
      size = size * 256 + bytes[i];
      open &&= bytes[i] === 0xff;
    }
    return { id, start: at, from, end: open ? limit : Math.min(limit, from + size), open };
  }

  /** Elements of a part of the file, in order; `stop` ends the list before an id. @returns {Element[]} */
  function children(bytes, from, end, stop = new Set()) {
    const out = [];
    for (let at = from; at < end;) {
      const child = element(bytes, at, end);
      if (stop.has(child.id)) break;
      if (child.open && child.id === ID.cluster) child.end = children(bytes, child.from, end, PARTS).at(-1)?.end ?? child.from;
      out.push(child);
      at = child.end;
    }
    return out;
  }

  const unsigned = (bytes, { from, end }) => bytes.subarray(from, end).reduce((n, byte) => n * 256 + byte, 0);

  /** Time of the last frame in the file's units. */
  function lastTime(bytes, clusters) {
    let last = 0;
    for (const cluster of clusters) {
      const parts = children(bytes, cluster.from, cluster.end);
      const base = parts.find((p) => p.id === ID.timestamp);
      const start = base ? unsigned(bytes, base) : 0;
      for (const part of parts) {
        const block = part.id === ID.blockGroup ? children(bytes, part.from, part.end).find((p) => p.id === ID.block) : part;
        if (!block || (block.id !== ID.block && block.id !== ID.simpleBlock)) continue;
        const at = block.from + Math.clz32(bytes[block.from]) - 23; // after the number of the track
        last = Math.max(last, start + (((bytes[at] << 8) | bytes[at + 1]) << 16 >> 16));
      }
    }
    return last;
  }

  /** @param {Uint8Array[]} parts @returns {Uint8Array} */
  function join(parts) {
    const out = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
    let at = 0;
    for (const part of parts) { out.set(part, at); at += part.length; }
    return out;
  }

  /** One element; its size in eight bytes, which every reader takes. @param {number} id @param {...Uint8Array} content */
  function write(id, ...content) {
    const head = [];
    for (let n = id; n > 0; n = Math.floor(n / 256)) head.unshift(n % 256);
    let size = content.reduce((n, part) => n + part.length, 0);
    const tail = new Uint8Array(8);
    for (let i = 7; i > 0; i--, size = Math.floor(size / 256)) tail[i] = size % 256;
    tail[0] = 1;
    return join([Uint8Array.from(head), tail, ...content]);
  }

  const text = (value) => new TextEncoder().encode(value);

  /** @param {Object<string, string>} values names and texts @returns {Uint8Array} a Tags element for the whole file */
  function tags(values) {
    return write(ID.tags, ...Object.entries(values).map(([name, value]) =>
      write(ID.tag, write(ID.targets), write(ID.simpleTag, write(ID.tagName, text(name)), write(ID.tagString, text(value))))));
  }

  /**
   * A recording with its duration and with tags before its first cluster.
   * Lists of positions (SeekHead, Cues) would point to the wrong bytes afterwards: readers do without them, so they are left out.
   * @param {Uint8Array} bytes @param {Object<string, string>} values texts by name @param {number} frameMs length of the last frame
   * @returns {Uint8Array}
   */
  function finish(bytes, values, frameMs) {
    const [header, segment] = children(bytes, 0, bytes.length);
    if (header?.id !== ID.header || segment?.id !== ID.segment) throw new Error("the recording is not a WebM file");
    const parts = children(bytes, segment.from, segment.end);
    const clusters = parts.filter((p) => p.id === ID.cluster);
    if (!clusters.length) throw new Error("the recording holds no frame");
    const raw = (p) => bytes.subarray(p.start, p.end);
    const content = [];
    for (const part of parts) {
      if (part === clusters[0]) content.push(tags(values));
      if (part.id === ID.info) {
        const fields = children(bytes, part.from, part.end);
        const scale = fields.find((f) => f.id === ID.scale);
        const unit = scale ? unsigned(bytes, scale) : 1e6; // nanoseconds
        const duration = new DataView(new ArrayBuffer(8));
        duration.setFloat64(0, lastTime(bytes, clusters) + (frameMs * 1e6) / unit);
        content.push(write(ID.info, ...fields.filter((f) => f.id !== ID.duration).map(raw), write(ID.duration, new Uint8Array(duration.buffer))));
      } else if (part.id === ID.cluster && part.open) content.push(write(ID.cluster, bytes.subarray(part.from, part.end)));
      else if (![ID.seekHead, ID.cues, ID.tags, ID.nothing].includes(part.id)) content.push(raw(part));
    }
    return join([raw(header), write(ID.segment, ...content)]);
  }

  HaloVis.webm = { finish, tags };
})();
