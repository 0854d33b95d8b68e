"""HaloVis: see what YOLO26 with HaloAttention looks at. `python app.py`, then open the address it prints."""

from __future__ import annotations

import argparse
import gc
import os


def main() -> None:
    """Arguments, then the page. On a Hugging Face Space the host decides where to listen."""
    parser = argparse.ArgumentParser(description=__doc__)
    on_space = bool(os.environ.get("SPACE_ID"))
    parser.add_argument("--host", default="0.0.0.0" if on_space else "127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=7860 if on_space else None, help="default: first free from 7860")
    args = parser.parse_args()
    # What starting makes is there to stay: looking through it for garbage, again and again, takes a sixth of the time.
    gc.disable()
    from demo.page import launch

    page, _ = launch(args.host, args.port, block=False)
    gc.freeze()
    gc.enable()
    page.block_thread()


if __name__ == "__main__":
    main()
