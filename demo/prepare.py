"""Make the plain files that the page shows before torch is imported: previews of the examples, the first picture.

Run again whenever a bundled pair or the explorer's data format changes: python -m demo.prepare
"""

from __future__ import annotations

from demo import guards

guards.settle(guards.work_folder())

from PIL import Image  # noqa: E402

from demo.catalogue import ASSETS, installed_photo  # noqa: E402
from demo.service import as_text, write_binaries  # noqa: E402
from halo_vis import inspect, load_pair, meadow  # noqa: E402
from halo_vis.viewer import payload  # noqa: E402

SCENES = (0, 5, 7, 14)  # held-out scenes offered as examples
PREVIEW = 240  # pixels, longer side


def main() -> None:
    """Write assets/examples and assets/first."""
    folder = ASSETS / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.jpg"):
        old.unlink()
    pictures = {name: Image.open(installed_photo(name)) for name in ("bus", "zidane")}
    pictures |= {f"meadow-{n}": Image.fromarray(meadow.scene(n, "test").image) for n in SCENES}
    for name, image in pictures.items():
        image = image.convert("RGB")
        image.thumbnail((PREVIEW, PREVIEW))
        image.save(folder / f"{name}.jpg", quality=88)
    meta, binaries = payload(inspect(load_pair("photos"), installed_photo("bus"), device="cpu"))
    first = ASSETS / "first"
    first.mkdir(parents=True, exist_ok=True)
    (first / "meta.json").write_text(as_text(meta) + "\n", encoding="utf-8")
    write_binaries(first, binaries)
    sizes = ", ".join(f"{name} {len(binary) / 1e6:.1f} MB" for name, binary in binaries.items())
    print(f"{len(pictures)} previews in {folder}; first picture in {first}: {sizes}")


if __name__ == "__main__":
    main()
