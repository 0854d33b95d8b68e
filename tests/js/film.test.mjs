// The bytes of a film: written by the test as a browser streams them, finished by webm.js, read back by a parser of the test's own.
import assert from "node:assert/strict";
import { test } from "node:test";
import { HaloVis, make, random } from "./viewer.mjs";

const { webm, film } = HaloVis;
const hex = (text) => Buffer.from(text.replaceAll(" ", ""), "hex");

/** Size of an element in the fewest bytes. */
function size(n) {
  for (let length = 1; length <= 8; length++) {
    if (n < 2 ** (7 * length) - 1) {
      const out = Buffer.alloc(8);
      out.writeBigUInt64BE((1n << BigInt(7 * length)) | BigInt(n));
      return out.subarray(8 - length);
    }
  }
  throw new RangeError(String(n));
}
const el = (id, ...content) => { const body = Buffer.concat(content); return Buffer.concat([hex(id), size(body.length), body]); };
/** Begun without a size, as a stream is. */
const open = (id, ...content) => Buffer.concat([hex(id), hex("01 ff ff ff ff ff ff ff"), ...content]);
const number = (n, bytes) => { const out = Buffer.alloc(bytes); out.writeUIntBE(n, 0, bytes); return out; };
const block = (time, fill) => { const at = Buffer.alloc(2); at.writeInt16BE(time); return Buffer.concat([hex("81"), at, hex("80"), Buffer.alloc(40, fill)]); };

const HEADER = el("1a45dfa3", el("4286", hex("01")), el("4282", Buffer.from("webm")));
const INFO = (scale = 1e6) => el("1549a966", el("2ad7b1", number(scale, 3)), el("4d80", Buffer.from("Browser")), el("5741", Buffer.from("Browser")));
const TRACKS = el("1654ae6b", el("ae", el("d7", hex("01")), el("86", Buffer.from("V_VP9"))));

const NAMES = {
  "1a45dfa3": "EBML", "18538067": "Segment", "1549a966": "Info", "1654ae6b": "Tracks", "1f43b675": "Cluster", "1254c367": "Tags", "1c53bb6b": "Cues",
  "114d9b74": "SeekHead", "7373": "Tag", "63c0": "Targets", "67c8": "SimpleTag", "45a3": "TagName", "4487": "TagString", "e7": "Timestamp",
  "a3": "SimpleBlock", "a0": "BlockGroup", "a1": "Block", "9b": "BlockDuration", "2ad7b1": "TimestampScale", "4489": "Duration", "ec": "Void",
};
const PARENTS = new Set(["Segment", "Info", "Cluster", "Tags", "Tag", "SimpleTag", "BlockGroup"]);

/** A reader that takes known sizes only: what is finished has them all. */
function read(bytes) {
  const out = [];
  for (let at = 0; at < bytes.length;) {
    let idLength = 1;
    while (!(bytes[at] & (0x80 >> (idLength - 1)))) idLength++;
    const id = bytes.toString("hex", at, at + idLength);
    at += idLength;
    let length = 1;
    while (!(bytes[at] & (0x80 >> (length - 1)))) length++;
    let n = BigInt(bytes[at] & (0x7f >> (length - 1)));
    for (let i = 1; i < length; i++) n = (n << 8n) | BigInt(bytes[at + i]);
    assert.notEqual(n, (1n << BigInt(7 * length)) - 1n, "a size that is not known");
    at += length;
    const body = bytes.subarray(at, at + Number(n));
    assert.equal(body.length, Number(n), "the file is long enough");
    at += Number(n);
    const name = NAMES[id] ?? id;
    out.push({ name, body, children: PARENTS.has(name) ? read(body) : [] });
  }
  return out;
}
const find = (nodes, name) => nodes.flatMap((n) => [...(n.name === name ? [n] : []), ...find(n.children, name)]);

const COMMENT = JSON.stringify({ picture: "<script>${alert(1)}</script> \"'\u516c\u4ea4\u8f66 ]]>", n: "x".repeat(300) });
const finish = (file, frameMs = 33) => read(Buffer.from(webm.finish(Uint8Array.from(file), { COMMENT, TITLE: "\u516c.jpg" }, frameMs)));
const durationOf = (nodes) => find(nodes, "Duration")[0].body.readDoubleBE(0);

test("a stream gets its tags before its first cluster, its duration, and sizes; its frames stay", () => {
  const clusters = [
    open("1f43b675", el("e7", number(0, 1)), el("a3", block(0, 1)), el("a3", block(33, 2))),
    open("1f43b675", el("e7", number(1000, 2)), el("a0", el("a1", block(40, 3)), el("9b", hex("21"))), el("a3", block(-7, 4))),
  ];
  const nodes = finish(Buffer.concat([HEADER, open("18538067", INFO(), TRACKS, ...clusters)]));
  assert.deepEqual(nodes.map((n) => n.name), ["EBML", "Segment"]);
  const [, segment] = nodes;
  assert.deepEqual(segment.children.map((n) => n.name), ["Info", "Tracks", "Tags", "Cluster", "Cluster"]);
  assert.equal(durationOf(nodes), 1040 + 33);
  assert.deepEqual(segment.children[0].children.map((n) => n.name), ["TimestampScale", "4d80", "5741", "Duration"]);
  const frames = [...find(nodes, "SimpleBlock"), ...find(nodes, "Block")].map((n) => n.body);
  assert.deepEqual(frames, [block(0, 1), block(33, 2), block(-7, 4), block(40, 3)]);
  assert.deepEqual(find(nodes, "Timestamp").map((n) => n.body.readUIntBE(0, n.body.length)), [0, 1000]);
  const tags = find(nodes, "SimpleTag").map(({ children: [name, text] }) => [name.name, name.body.toString(), text.name, text.body.toString()]);
  assert.deepEqual(tags, [["TagName", "COMMENT", "TagString", COMMENT], ["TagName", "TITLE", "TagString", "\u516c.jpg"]]);
  for (const tag of find(nodes, "Tag")) assert.deepEqual(tag.children.map((n) => n.name), ["Targets", "SimpleTag"]);
});

test("sizes of any length, other time scales, a duration and positions that were there", () => {
  const r = random(7);
  for (let round = 0; round < 30; round++) {
    const known = r.next() < 0.5, scale = r.next() < 0.5 ? 1e6 : 5e5;
    const times = Array.from({ length: r.int(1, 5) }, (_, i) => 1000 * i + r.int(0, 900));
    const clusters = times.map((t, i) => (r.next() < 0.5 ? el : open)("1f43b675", el("e7", number(t, r.int(3, 6))), el("a3", block(r.int(0, 90), i), Buffer.alloc(r.int(0, 40000)))));
    const old = el("4489", Buffer.alloc(8));
    const info = el("1549a966", el("2ad7b1", number(scale, 3)), ...(round % 3 ? [] : [old]));
    const parts = [el("114d9b74", Buffer.alloc(30)), el("ec", Buffer.alloc(r.int(0, 200))), info, TRACKS, ...clusters, el("1c53bb6b", Buffer.alloc(20)), el("1254c367")];
    const nodes = finish(Buffer.concat([HEADER, (known ? el : open)("18538067", ...parts)]), 40);
    const names = nodes[1].children.map((n) => n.name);
    assert.deepEqual(names, ["Info", "Tracks", "Tags", ...times.map(() => "Cluster")]);
    const last = Math.max(...find(nodes, "Cluster").map((c) => c.children[0].body.readUIntBE(0, c.children[0].body.length) + c.children[1].body.readInt16BE(1)));
    assert.equal(durationOf(nodes), last + 40 * (1e6 / scale));
    assert.equal(find(nodes, "Duration").length, 1);
  }
});

test("what is no film is refused", () => {
  for (const bad of [Buffer.alloc(0), Buffer.from("RIFF1234WEBP"), HEADER, Buffer.alloc(64), Buffer.concat([HEADER, open("18538067", INFO(), TRACKS)])])
    assert.throws(() => webm.finish(Uint8Array.from(bad), {}, 33), /film|WebM|frame/);
});

test("where nothing can be recorded, it is said in the reader's language; a path has cells", async () => {
  assert.equal(film.supported(), false);
  const { data, state } = make({});
  for (const lang of ["en", "zh-CN"])
    assert.throws(() => new film.Film().start({ lang: () => lang }), { message: HaloVis.say(lang, "errorFilm") });
  await assert.rejects(film.path({ select() {}, composer: () => ({ lang: () => "en" }) }, [], 100), RangeError);
  const about = HaloVis.provenance.of(data, state);
  assert.ok(JSON.stringify(about).length < 65536, "a comment, not a file");
});
