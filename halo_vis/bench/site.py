"""A web site in memory on the loopback: the viewer on a plain page, and payloads beside it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from halo_vis.picture import Picture
from halo_vis.viewer import FOLDER

# Isolated from other origins, a page gets clocks of 5 microseconds instead of 100.
ISOLATION = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
TYPES = {"html": "text/html; charset=utf-8", "json": "application/json", "png": "image/png", "js": "text/javascript"}


class Site:
    """Files in memory, served on a free port of 127.0.0.1 for as long as the context lasts.

    Attributes:
        files: what is served, by path without the leading slash; may be changed while the site is up.
        url: where it is, ending in "/"; set on entering.
    """

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = dict(files or {})
        self.url = ""

    def __enter__(self) -> Site:
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = self.path.split("?")[0].lstrip("/") or "index.html"
                body = site.files.get(path)
                self.send_response(200 if body is not None else 404)
                self.send_header("Content-Type", TYPES.get(path.rsplit(".", 1)[-1], "application/octet-stream"))
                self.send_header("Content-Length", str(len(body or b"")))
                self.send_header("Cache-Control", "no-store")
                for name, value in ISOLATION.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                """Nothing: the caller's output is a table."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, name: str, meta: dict, files: dict[str, bytes], picture: Picture) -> dict:
        """Serve one payload under a name; returns what the viewer's ``show`` takes (addresses relative to the page)."""
        self.files[f"{name}/meta.json"] = json.dumps(meta).encode()
        self.files[f"{name}/image.png"] = png(picture)
        for part, body in files.items():
            self.files[f"{name}/{part}.bin"] = body
        others = {part: f"{name}/{part}.bin" for part in files if part != "tensors"}
        return {
            "meta": f"{name}/meta.json",
            "image": f"{name}/image.png",
            "tensors": f"{name}/tensors.bin",
            "others": others,
        }


def png(picture: Picture) -> bytes:
    """A picture as a PNG file, without loss: what the models saw, pixel by pixel."""
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture.pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def page(lang: str = "en", theme: str = "light") -> bytes:
    """A plain page with the viewer mounted and nothing shown yet; ``window.controller`` is the viewer's."""
    scripts = "\n".join(
        f"<script>\n{(FOLDER / name).read_text(encoding='utf-8')}\n</script>"
        for name in json.loads((FOLDER / "order.json").read_text(encoding="utf-8"))
    )
    markup = (FOLDER / "explorer.html").read_text(encoding="utf-8")
    markup = markup.replace('class="halo-explorer"', f'class="halo-explorer" data-theme="{theme}"', 1)
    style = (FOLDER / "explorer.css").read_text(encoding="utf-8")
    back = {"light": "#ffffff", "dark": "#0d1117"}[theme]
    return f"""<!doctype html>
<html lang="{lang}"><head><meta charset="utf-8"><title>HaloVis</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body {{ margin: 16px; background: {back}; color-scheme: {theme}; }}
{style}</style></head>
<body><main>{markup}</main>
{scripts}
<script>window.controller = HaloVis.mount(document.querySelector("main"), {{lang: "{lang}"}});</script>
</body></html>
""".encode()
