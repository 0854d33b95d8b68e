// A tree of plain objects, put on the page in place: elements that stay the same keep focus, selection and scroll.
// Text goes in as text nodes only; nothing is ever parsed as markup.
(() => {
  "use strict";
  const HaloVis = (globalThis.HaloVis ??= {});
  const runs = (HaloVis.runs ??= {});

  const SVG = "http://www.w3.org/2000/svg";
  const PROPERTIES = new Set(["value", "checked", "disabled", "hidden"]);
  /** @type {WeakMap<Element, object>} attributes that were put on an element here */
  const given = new WeakMap();

  /**
   * @typedef {{tag: string, attributes: Object<string, string|number|boolean|null>, children: Array<Node|string>}} Node
   * attributes: `key` tells siblings apart; null and false are left out
   */

  /** @returns {Node} */
  function h(tag, attributes = {}, ...children) {
    const kept = children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false && c !== "");
    return { tag, attributes, children: kept.map((c) => (typeof c === "object" ? c : String(c))) };
  }

  function dress(element, wanted) {
    const before = given.get(element) ?? {};
    for (const name of Object.keys(before)) if (!(name in wanted)) undress(element, name);
    for (const [name, value] of Object.entries(wanted)) {
      if (name === "key") continue;
      if (PROPERTIES.has(name)) { if (element[name] !== value) element[name] = value; continue; }
      if (value === null || value === undefined || value === false) { undress(element, name); continue; }
      const text = value === true ? "" : String(value);
      if (element.getAttribute(name) !== text) element.setAttribute(name, text);
    }
    given.set(element, wanted);
  }

  const undress = (element, name) => {
    if (PROPERTIES.has(name)) element[name] = name === "value" ? "" : false;
    else element.removeAttribute(name);
  };

  const keyOf = (node) => given.get(node)?.key;

  /** The child that becomes a wanted node: the one of its key, else the next without a key and of the same kind. */
  function fitting(wanted, at, keyed) {
    if (typeof wanted === "string") return at?.nodeType === 3 ? at : null;
    const { key } = wanted.attributes;
    if (key !== undefined) return keyed.get(String(key)) ?? null;
    return at?.nodeType === 1 && keyOf(at) === undefined && at.localName === wanted.tag ? at : null;
  }

  /**
   * Makes the children of an element those that are wanted. A node that stays in its order is never taken out and put in
   * again: that would cost it the focus and the selection.
   * @param {Element} parent @param {Array<Node|string>} list
   */
  function patch(parent, list) {
    const wantedKeys = new Set(list.filter((w) => w.attributes?.key !== undefined).map((w) => String(w.attributes.key)));
    const keyed = new Map();
    for (const child of [...parent.childNodes]) {
      const key = keyOf(child);
      if (key === undefined) continue;
      if (wantedKeys.has(String(key))) keyed.set(String(key), child);
      else child.remove();
    }
    let at = parent.firstChild;
    const drop = () => { const next = at.nextSibling; at.remove(); at = next; };
    for (const wanted of list) {
      const key = wanted.attributes?.key;
      if (key !== undefined && keyed.has(String(key))) while (at && keyOf(at) === undefined) drop();
      let node = fitting(wanted, at, keyed);
      if (!node) {
        const inSvg = wanted.tag === "svg" || parent.namespaceURI === SVG;
        node = typeof wanted === "string" ? document.createTextNode(wanted)
          : inSvg ? document.createElementNS(SVG, wanted.tag) : document.createElement(wanted.tag);
      }
      if (node === at) at = at.nextSibling;
      else parent.insertBefore(node, at);
      if (typeof wanted === "string") { if (node.nodeValue !== wanted) node.nodeValue = wanted; continue; }
      patch(node, wanted.children);
      dress(node, wanted.attributes); // after its children: a select's value needs its options
    }
    while (at) drop();
  }

  /** A button. @param {string} act what a click on it means, see `data-act` in run_view.js */
  const button = (act, label, attributes = {}) => h("button", { type: "button", "data-act": act, ...attributes }, label);

  /** Buttons of which one is chosen. @param {Array<{value: string, text: string, title?: string, disabled?: boolean}>} choices */
  const choice = (act, label, choices, chosen, attributes = {}) => h("div", { class: "hr-seg", role: "group", "aria-label": label, ...attributes },
    choices.map(({ value, text, title, disabled = false }) => button(act, text, {
      key: value, "data-value": value, "aria-pressed": String(value === chosen), title: title ?? null, disabled,
    })));

  /** A tick box with its words. */
  const tick = (act, label, checked, attributes = {}) => h("label", { class: "hr-field", key: act },
    h("input", { type: "checkbox", "data-act": act, checked, ...attributes }), label);

  /** Gives a text to the person as a file. */
  function download(name, text, type) {
    const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
    const link = Object.assign(document.createElement("a"), { href: url, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 60000); // a browser may still be reading it
  }

  runs.dom = { h, patch, button, choice, tick, download };
})();
