"""Weights files: what is written comes back exactly; what is damaged or foreign is refused in words, before it acts."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from samples import NAMES, random_model

from halo_vis.transplant import Architecture, architecture_of, build
from halo_vis.weights import Header, WeightsError, file_hash, read_header, read_weights, rounded, write_weights

LIMIT = 8_000_000  # bytes of a bundled file


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "halo.safetensors"
    write_weights(path, random_model("residual"), {"recipe": "none", "imgsz": 160, "note": "größer"})
    return path


# ---------------------------------------------------------------- round trip
@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(form="baseline", nc=80),
        Architecture(form="residual", nc=3, block_size=5, halo_size=2, dim_head=16, heads=3, levels=("P4", "P5")),
        Architecture(form="article", nc=1, mask="published"),
        Architecture(task="segment", form="residual", nc=2),
        Architecture(nc=1, heads=2),  # as many as P3 holds, fewer than P4 and P5 do
        Architecture(nc=1, heads=0.6),
    ],
    ids=lambda a: f"{a.task} {a.form} {a.heads}",
)
def test_round_trip_is_exact_in_fp16(tmp_path: Path, architecture: Architecture) -> None:
    names = {i: f"class {i} ü" for i in range(architecture.nc)}
    yolo = build(architecture, names)
    with torch.no_grad():
        for key, value in yolo.model.state_dict().items():
            if key.endswith("running_var"):
                value.uniform_(1e-7, 300)  # fp16 would lose the small ones
    path = tmp_path / "weights.safetensors"
    header = write_weights(path, yolo, {"seed": 1})
    assert list(tmp_path.iterdir()) == [path] and path.stat().st_size < LIMIT
    again, read = read_weights(path)
    assert read == header == Header(architecture, names, {"seed": 1}) == read_header(path)
    assert again.names == names and architecture_of(again.model) == architecture and not again.model.training
    stored = again.model.state_dict()
    for key, value in yolo.model.state_dict().items():
        exact = key.endswith(("running_mean", "running_var", "num_batches_tracked"))
        assert torch.equal(stored[key], value if exact else value.half().float()), key
    assert again.ckpt["model"] is again.model  # or train() would start from other weights
    write_weights(tmp_path / "second.safetensors", again, {"seed": 1})
    assert file_hash(tmp_path / "second.safetensors") == file_hash(path)


def test_official_size_stays_below_the_limit(tmp_path: Path) -> None:
    for form in ("baseline", "residual", "article"):
        path = tmp_path / f"{form}.safetensors"
        write_weights(path, build(Architecture("n", form=form, nc=80), dict.fromkeys(range(80), "x" * 30)))
        assert path.stat().st_size < LIMIT


def test_what_cannot_be_stored_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    yolo = random_model("residual")
    fused = random_model("residual")
    fused.model.fuse()
    with torch.no_grad():
        yolo.model.model[17].to_q.weight[0, 0] = 1e6
    for model, words in ((yolo, r"model.17.to_q.weight holds values that fp16 cannot"), (fused, "fused")):
        with pytest.raises(WeightsError, match=words):
            write_weights(tmp_path / "weights.safetensors", model)
    with pytest.raises(ValueError, match=r"written as .safetensors, got 'weights.pt'"):
        write_weights(tmp_path / "weights.pt", yolo)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- damaged, foreign, hostile
def edit_header(**changes: object) -> Callable[[Path, Path], None]:
    """A file with another header; a value that is a dict changes keys inside."""

    def make(good: Path, bad: Path) -> None:
        body = json.loads(read_header(good).to_json())
        for key, value in changes.items():
            body[key] = body[key] | value if isinstance(value, dict) and key != "names" else value
        save_file(load_file(good), bad, metadata={"halo_vis": json.dumps(body)})

    return make


def edit_tensors(change: Callable[[dict], None]) -> Callable[[Path, Path], None]:
    def make(good: Path, bad: Path) -> None:
        tensors = load_file(good)
        change(tensors)
        save_file(tensors, bad, metadata={"halo_vis": read_header(good).to_json()})

    return make


def edit_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path, Path], None]:
    return lambda good, bad: bad.write_bytes(change(good.read_bytes())) and None


def metadata(text: str | None) -> Callable[[Path, Path], None]:
    meta = {"format": "pt"} if text is None else {"halo_vis": text}
    return lambda good, bad: save_file({"x": torch.zeros(2)}, bad, metadata=meta)


Q, TABLE = "model.17.to_q.weight", "model.17.rel_pos_emb.rel_height"
OTHERS = {**NAMES, 3: "one more"}
ABSURD = [
    {"scale": "q"}, {"scale": ["n"]}, {"nc": -1}, {"nc": 3.0}, {"nc": 10**9}, {"nc": True}, {"block_size": 0},
    {"halo_size": -1}, {"dim_head": "32"}, {"heads": 0}, {"mask": "none"}, {"levels": []}, {"levels": ["P2"]},
    {"levels": "P3"}, {"levels": None}, {"task": "__import__('os')"}, {"form": None}, {"surprise": 1},
    # each allowed on its own, gigabytes or hours all the same
    {"dim_head": 10_000, "heads": 10_000}, {"block_size": 10_000}, {"halo_size": 10_000}, {"heads": 10_000},
    {"dim_head": 10_000}, {"dim_head": 1}, {"halo_size": 200}, {"block_size": 40, "halo_size": 20},
    {"heads": 1.5}, {"heads": 1.0}, {"heads": -0.25}, {"heads": float("nan")}, {"heads": "all"}, {"heads": True},
]  # fmt: skip
DAMAGED = {
    "truncated": (edit_bytes(lambda b: b[: len(b) // 2]), "no readable safetensors"),
    "empty": (edit_bytes(lambda b: b""), "no readable safetensors"),
    "header length": (edit_bytes(lambda b: struct.pack("<Q", 1 << 62) + b[8:]), "no readable safetensors"),
    "bit of the length": (edit_bytes(lambda b: bytes([b[0] ^ 4]) + b[1:]), "no readable safetensors"),
    "trailing bytes": (edit_bytes(lambda b: b + b"\0" * 64), "no readable safetensors"),
    "a pickle": (edit_bytes(lambda b: b"PK\3\4" + b), "no readable safetensors"),
    "foreign": (metadata(None), "not one of HaloVis"),
    "header is no JSON": (metadata("{'a': 1}"), "header is not one of HaloVis"),
    "header is a list": (metadata("[]"), "header is not one of HaloVis"),
    "header too deep": (metadata("[" * 100_000), "header is not one of HaloVis"),
    "header is empty": (metadata("{}"), "is None version None"),
    "other version": (edit_header(version=2), "version 2"),
    "other format": (edit_header(format="other"), "'other' version 1"),
    "too few names": (edit_header(names={"0": "bee"}), "names 1 classes for 3"),
    "too many names": (edit_header(names=OTHERS), "names 4 classes for 3"),
    "names not numbered": (edit_header(names=["a", "b", "c"]), "header is not one of HaloVis"),
    "odd provenance": (edit_header(provenance=[1]), "provenance is not an object"),
    "missing tensor": (edit_tensors(lambda t: t.pop(Q)), "1 tensors differ, for example model.17.to_q"),
    "extra tensor": (edit_tensors(lambda t: t.update({"evil": torch.zeros(1)})), "1 tensors differ, for example evil"),
    "wrong shape": (edit_tensors(lambda t: t.update({Q: t[Q][:60]})), r"to_q.weight has shape \(60, 64\)"),
    "NaN": (edit_tensors(lambda t: t[Q].fill_(torch.nan)), "to_q.weight holds values that are not finite"),
    "infinite": (edit_tensors(lambda t: t[TABLE][0].fill_(torch.inf)), "rel_height holds values that are not finite"),
    "whole numbers": (edit_tensors(lambda t: t.update({Q: t[Q].to(torch.int32)})), "to_q.weight has type"),
    "other architecture": (edit_header(architecture={"form": "baseline"}), "does not match its header"),
    "other geometry": (edit_header(architecture={"halo_size": 2}), r"has shape \(27, 32\), expected \(23, 32\)"),
    **{f"absurd {a}": (edit_header(architecture=a), "header") for a in ABSURD},
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_are_refused_in_words(good: Path, tmp_path: Path, case: str) -> None:
    make, words = DAMAGED[case]
    bad = tmp_path / "bad.safetensors"
    make(good, bad)
    with pytest.raises(WeightsError, match=words) as caught:
        read_weights(bad)
    message = str(caught.value)
    assert message.startswith("bad.safetensors") and len(message) < 600 and "\n" not in message


def test_missing_and_oversized_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no weights at .*none.safetensors. Check the path"):
        read_weights(tmp_path / "none.safetensors")
    large = tmp_path / "large.safetensors"
    with large.open("wb") as f:
        f.truncate(513 * 1024 * 1024)  # sparse: takes no room
    with pytest.raises(WeightsError, match="at most 536870912"):
        read_header(large)


def test_header_is_readable_without_us(good: Path) -> None:
    with safe_open(good, "pt") as f:
        body = json.loads(f.metadata()["halo_vis"])
    assert body["format"] == "halo_vis-weights" and body["version"] == 1
    assert body["architecture"]["form"] == "residual" and body["names"] == {str(k): v for k, v in NAMES.items()}
    assert body["provenance"]["note"] == "größer"


def test_rounded_leaves_the_model_alone() -> None:
    model = random_model("article").model
    before = {k: v.clone() for k, v in model.state_dict().items()}
    stored = rounded(model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert {v.dtype for v in stored.values()} == {torch.float16, torch.float32, torch.int64}
