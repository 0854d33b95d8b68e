"""One HTML file that needs nothing else: what stands in it, read again by an HTML parser that knows nothing of ours."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from documents import Document
from PIL import Image
from samples import HOSTILE, hostile, picture, random_model

from halo_vis import Inspection, inspect, single
from halo_vis.pairs import Card, Pair
from halo_vis.picture import Picture
from halo_vis.view import View
from halo_vis.viewer import FOLDER, payload

LOADS = {"src", "href", "srcset", "data", "poster", "action", "formaction", "background", "xlink:href"}


@pytest.fixture(scope="module")
def seen() -> Inspection:
    card = Card("own", "Random models", 160, members={"baseline": {"sha256": "b" * 64}, "halo": {"sha256": "h" * 64}})
    pair = Pair(card, random_model("baseline"), random_model("residual"))
    return inspect(pair, picture(90, 120), conf=0.35, device="cpu")


def test_it_holds_the_payload_to_the_bit(seen: Inspection) -> None:
    document = Document(single.html(seen))
    meta, files = payload(seen)
    assert json.loads(document.data("meta")) == json.loads(json.dumps(meta))
    assert {"tensors", "control"} <= files.keys()
    for name, raw in files.items():
        assert base64.b64decode(document.data(name), validate=True) == raw
    page = json.loads(document.data("page"))
    assert page == {"lang": "en", "view": None, "others": [name for name in files if name != "tensors"]}


def test_the_control_is_left_out_where_it_is_not_wanted(seen: Inspection) -> None:
    document = Document(single.html(seen, control=False))
    assert "control" not in {attrs.get("data-file") for attrs, _ in document.all("script")}
    assert "control" not in json.loads(document.data("page"))["others"]


def test_the_policy_names_the_one_script_and_nothing_else(seen: Inspection) -> None:
    document = Document(single.html(seen))
    policy = next(a["content"] for a, _ in document.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    run = [text for attrs, text in document.all("script") if "type" not in attrs]
    assert len(run) == 1
    digest = base64.b64encode(hashlib.sha256(run[0].encode()).digest()).decode()
    assert rules == {
        "default-src": "'none'", "script-src": f"'sha256-{digest}' 'unsafe-eval'", "style-src": "'unsafe-inline'",
        "img-src": "data: blob:", "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip
    loads = [(tag, attrs) for tag, attrs, _ in document.elements if LOADS & attrs.keys()]
    assert loads == [] and not document.all("link")
    assert re.findall(r"@import|url\(", "".join(text for _, text in document.all("style"))) == []


def test_all_scripts_are_in_it_in_their_order(seen: Inspection) -> None:
    script = next(text for attrs, text in Document(single.html(seen)).all("script") if "type" not in attrs)
    names = [*json.loads((FOLDER / "order.json").read_text()), "single.js"]
    places = [script.index((FOLDER / name).read_text(encoding="utf-8")) for name in names]
    assert places == sorted(places) and len(places) > 5


@pytest.mark.parametrize(("size", "kind"), [((90, 120), "png"), ((600, 900), "webp"), ((1, 1), "png")], ids=str)
def test_the_photo(seen: Inspection, size: tuple[int, int], kind: str) -> None:
    pixels = np.asarray(Image.fromarray(picture(90, 120)).resize(size[::-1], Image.Resampling.BICUBIC))
    document = Document(single.html(replace(seen, picture=Picture(pixels, "a")), control=False))
    head, _, raw = document.data("picture").partition(",")
    assert head == f"data:image/{kind};base64"
    got = np.asarray(Image.open(io.BytesIO(base64.b64decode(raw, validate=True))).convert("RGB")).astype(int)
    assert got.shape == pixels.shape
    assert np.abs(got - pixels).mean() < (0.001 if kind == "png" else 6)


def test_hostile_words_stay_words(seen: Inspection) -> None:
    bad = hostile(seen)
    plain, document = Document(single.html(seen)), Document(single.html(bad))
    assert [(tag, sorted(attrs)) for tag, attrs, _ in document.elements] == [
        (tag, sorted(attrs)) for tag, attrs, _ in plain.elements
    ]  # not one element more
    meta = json.loads(document.data("meta"))
    assert meta["picture"]["name"] == HOSTILE and meta["pair"]["title"] == HOSTILE
    assert {d["name"] for d in meta["detections"]["halo"]} == {HOSTILE}
    assert document.all("h1") == [({}, HOSTILE)]
    assert document.all("title")[0][1] == f"{HOSTILE} · {HOSTILE} · HaloVis"
    assert json.loads(document.all("pre")[0][1])["picture"] == HOSTILE
    assert not set("<>&\u2028\u2029") & set(document.data("meta"))


def test_a_name_that_is_no_unicode(seen: Inspection, tmp_path: Path) -> None:
    """A file name of undecodable bytes, as Linux allows and Python passes on."""
    name = b"gr\xfcn.png".decode("utf-8", "surrogateescape")
    explorer = replace(seen, picture=Picture(seen.picture.pixels, name)).explore()
    text = explorer.save(tmp_path / "a.html").read_text(encoding="utf-8")
    assert json.loads(Document(text).data("meta"))["picture"]["name"].startswith("gr")
    explorer._repr_html_().encode()


def test_view_and_language(seen: Inspection) -> None:
    view = replace(View.strongest(seen), head=1, of="contribution", log=True)
    page = json.loads(Document(single.html(seen, view, control=False, lang="zh-CN")).data("page"))
    assert page["lang"] == "zh-CN" and View.from_state(page["view"]) == view
    assert json.loads(Document(single.html(seen, control=False, lang=None)).data("page"))["lang"] is None


def test_in_a_notebook_each_has_a_frame_of_its_own(seen: Inspection, tmp_path: Path) -> None:
    explorer = hostile(seen).explore(View.strongest(seen), height=640)
    frame = Document(explorer._repr_html_())
    assert [tag for tag, _, _ in frame.elements] == ["iframe"]
    (attrs, text), *_ = frame.all("iframe")
    assert attrs["sandbox"] == "allow-scripts allow-downloads"  # no allow-same-origin: the notebook is out of reach
    assert "height: 640px" in attrs["style"] and HOSTILE in attrs["title"] and text == ""
    assert attrs["srcdoc"] == explorer.document
    assert explorer.save(tmp_path / "explorer.html").read_text(encoding="utf-8") == explorer.document
    assert len(repr(explorer)) < 1000  # a notebook stores the repr beside the frame
    assert Document(seen._repr_html_()).all("iframe")[0][0]["srcdoc"] == seen.explore().document


def test_size(seen: Inspection) -> None:
    """Base64 adds a third to the tensors; nothing else is large."""
    _, files = payload(seen)
    assert len(single.html(seen)) < 4 / 3 * sum(map(len, files.values())) + 600_000
