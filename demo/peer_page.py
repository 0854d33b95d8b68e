"""Gradio pages that the app is measured against, a program that the bench starts.

python peer_page.py empty PORT          a page with nothing on it
python peer_page.py html PORT FOLDER    a button and a gr.HTML that fetches and draws the files of a folder
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import gradio as gr

# The least that shows a payload: its three files at once, the photo decoded and drawn, the tensors as numbers.
SCRIPT = """
const show = async () => {
  const { value } = props;
  if (!value?.image) return;
  // Another address each time: the app's files are new ones too, and nothing comes from a cache.
  const get = (name, how) => fetch(`${value[name].url}?${value.turn}`).then((answer) => answer[how]());
  const [blob, tensors] = await Promise.all([get("image", "blob"), get("tensors", "arrayBuffer")]);
  const photo = await createImageBitmap(blob);
  const canvas = element.querySelector("canvas");
  Object.assign(canvas, { width: photo.width, height: photo.height });
  const context = canvas.getContext("2d");
  context.drawImage(photo, 0, 0);
  context.getImageData(0, 0, 1, 1);
  globalThis.peerNumbers = new Uint16Array(tensors).length;
  element.dispatchEvent(new CustomEvent("halo-ready", { bubbles: true, detail: JSON.parse(value.meta) }));
};
watch("value", show);
show();
"""


def main(kind: str, port: str, *folder: str) -> None:
    """Serve a page until the process is ended."""
    with gr.Blocks() as page:
        if kind == "html":
            (place,) = map(Path, folder)
            button = gr.Button("Run", elem_id="run")
            shown = gr.HTML(None, html_template="<canvas></canvas>", js_on_load=SCRIPT, elem_id="explorer")

            turns = itertools.count()

            def run() -> dict[str, Any]:
                files = {"image": next(place.glob("picture.*")), "tensors": place / "tensors.bin"}
                sent = {name: gr.FileData(path=str(path)).model_dump() for name, path in files.items()}
                return sent | {"meta": (place / "meta.json").read_text(), "turn": next(turns)}

            button.click(run, None, shown, show_progress="hidden")
    page.launch(server_name="127.0.0.1", server_port=int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
