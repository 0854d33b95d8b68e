"""Links that rebuild a view: what stands after the # of the page's address."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs

from demo.catalogue import COCO, OWN, Allowed, all_members, card, default_imgsz, halo_members
from demo.guards import Refused

LONGEST = 4000  # characters


@dataclass(frozen=True)
class Link:
    """A picture (by the name of an example, else by the digest of its pixels), models, settings, and a view."""

    picture: str
    digest: str
    pair: str
    member: str
    beside: str
    conf: float
    imgsz: int
    head: str
    iou: float
    view: str


def names_picture(fragment: object) -> bool:
    """Whether what stands after the # is meant as a link of ours."""
    if not isinstance(fragment, str):
        return False
    given = parse_qs(fragment.lstrip("#")[:LONGEST])
    return bool(given.get("picture") or given.get("digest"))


def read_link(fragment: str, allowed: Allowed = None) -> Link:
    """The link that a fragment which names a picture holds.

    Args:
        allowed: whether the visitor may see a finished run, by its id.

    Raises:
        Refused: it names models that are not here, weights of one's own, or a number that is none.
        ValueError: a setting out of range.
    """
    if len(fragment) > LONGEST:
        raise Refused("link_broken")
    given = {key: values[-1] for key, values in parse_qs(fragment.lstrip("#")).items()}
    pair = given.get("pair", "photos")
    if pair == OWN:
        raise Refused("link_own")
    if pair not in COCO and card(pair, allowed) is None:
        raise Refused("link_pair")
    member = given.get("member", halo_members(pair)[0])
    beside = given.get("beside", "")
    if member not in halo_members(pair) or (beside and beside not in all_members(allowed)):
        raise Refused("link_pair")
    try:
        link = Link(
            picture=given.get("picture", ""),
            digest=given.get("digest", ""),
            pair=pair,
            member=member,
            beside=beside,
            conf=float(given.get("conf", 0.25)),
            imgsz=int(given.get("imgsz", default_imgsz(pair))),
            head=given.get("head", "one-to-many"),
            iou=float(given.get("iou", 0.7)),
            view=given.get("view", ""),
        )
    except ValueError:
        raise Refused("link_broken") from None
    from halo_vis.seen import Settings  # here: it imports torch, and the page starts before that

    Settings(link.conf, link.iou, link.imgsz, link.head)
    return link
