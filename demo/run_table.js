// The history of runs: runs once per mount of the component; Gradio provides element, props, trigger and watch.
{
  const host = element.querySelector(".run-table");

  /** An element with text or children; everything that comes from people goes in as text. */
  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === true) node.setAttribute(name, "");
      else if (value !== false && value !== null) node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  };

  const tell = (data) => trigger("choose", data);

  /** @param {object} row @param {object} value */
  const line = (row, { words, focus, beside, most }) => {
    const open = make("button", { type: "button", "data-run": row.id, "aria-current": row.id === focus ? "true" : null }, row.title);
    open.addEventListener("click", () => tell({ focus: row.id }));
    const checked = beside.includes(row.id);
    const box = make("input", {
      type: "checkbox", "data-beside": row.id, "aria-label": words.lay_over.replace("{title}", row.title),
      disabled: !checked && beside.length >= most,
    });
    box.checked = checked;
    box.addEventListener("change", () => tell({ beside: row.id, on: box.checked }));
    const title = make("th", { scope: "row" }, open);
    if (row.note) title.append(make("div", { class: "run-note" }, row.note));
    const cells = row.cells.map((cell) => make("td", {}, String(cell)));
    return make("tr", { "data-state": row.state, class: row.id === focus ? "in-focus" : null }, make("td", {}, ...(row.id === focus ? [] : [box])), title, ...cells);
  };

  const draw = () => {
    const value = props.value;
    if (!value || !value.rows) { host.replaceChildren(); return; }
    const active = document.activeElement;
    const had = host.contains(active) ? { run: active.dataset.run, beside: active.dataset.beside } : null;
    if (!value.rows.length) { host.replaceChildren(make("p", { class: "note" }, value.words.no_runs)); return; }
    const heads = ["", ...value.heads].map((head, i) =>
      i ? make("th", { scope: "col" }, head) : make("td", {}));
    const table = make("table", {}, make("caption", {}, value.words.caption), make("thead", {}, make("tr", {}, ...heads)),
      make("tbody", {}, ...value.rows.map((row) => line(row, value))));
    host.replaceChildren(make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": value.words.caption }, table));
    if (had) host.querySelector(had.run ? `[data-run="${CSS.escape(had.run)}"]` : `[data-beside="${CSS.escape(had.beside ?? "")}"]`)?.focus();
  };
  watch("value", draw);
  draw();
}
