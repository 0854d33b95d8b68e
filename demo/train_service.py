"""Between the Fine-tune tab and the library: runs, data sets and rights. Every method asks who is asking."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo import guards
from demo.guards import Refused
from demo.limits import Limits, limits
from demo.owners import check_may_change, check_may_start, is_theirs, owner_of
from demo.service import safe_name
from demo.train_plan import check_pictures, plan_of
from demo.train_sets import COCO_SETS, Sets, dataset_id

if TYPE_CHECKING:
    from halo_vis.training.begin import Estimate, Kept
    from halo_vis.training.run_folder import RunFolder
    from halo_vis.training.store import Store

ACTIONS = ("stop", "stop_now", "kill", "resume")
AT_WORK = ("queued", "running", "stopping")
LONGEST_TITLE, LONGEST_NOTE = 120, 4000  # characters
_ID = re.compile(r"[\w-][\w.-]{0,120}", re.ASCII)
log = logging.getLogger("halo_vis")


def plain_id(run: Any) -> str:
    """What a request names a run by, where it is a plain name of one; else "": nothing else is handed back."""
    return run if isinstance(run, str) and _ID.fullmatch(run) else ""


class Training(Sets):
    """Runs and data sets of this server. The library, and with it torch, is imported when it is first needed."""

    def __init__(self, served: Path) -> None:
        """`served`: the folder that Gradio serves from."""
        super().__init__(served)
        self._watched = served
        self._key = secrets.token_bytes(32)  # of the folders' names that `watched` gives
        self._store: Store | None = None
        self._lock = threading.Lock()

    # ------------------------------------------------------------ the store
    def store(self) -> Store:
        """The runs of this server, pumped in the background."""
        with self._lock:
            if self._store is None:
                from halo_vis.training.store import Store

                self.runs_folder.mkdir(parents=True, exist_ok=True)
                self._store = Store(self.runs_folder, *_store_settings(limits()))
                self._store.start_pump()
            return self._store

    def wake(self) -> None:
        """After a start of the server: go on with the queue, if there are runs at all."""
        if self.runs_folder.is_dir() and any(self.runs_folder.iterdir()):
            threading.Thread(target=self._wake, name="runs", daemon=True).start()

    def _wake(self) -> None:
        try:
            self.store()
        except Exception:  # the page comes up whatever happens here; the tab says what is wrong
            log.exception("the runs could not be opened")

    @property
    def opened(self) -> bool:
        """Whether anything of the library has been asked for yet."""
        return self._store is not None

    # ------------------------------------------------------------ whose
    def run(self, run: Any, secret: Any) -> RunFolder:
        """A run that a visitor may see and change.

        Raises:
            Refused: there is none, or it is another visitor's: the answer is the same for both.
        """
        if not plain_id(run):
            raise Refused("no_run")
        try:
            found = self.store().get(run)
        except (LookupError, OSError, ValueError):
            found = None
        if found is None or not found.path.is_dir() or not is_theirs(found.path, secret, limits()):
            raise Refused("no_run")
        return found

    def history(self, secret: Any, search: Any = "") -> list[dict[str, Any]]:
        """The visitor's runs, newest first."""
        bounds = limits()
        found = self.store().history(search[:200] if isinstance(search, str) else "")
        if bounds.training == "anyone":
            return found
        return [row for row in found if is_theirs(self.runs_folder / row["id"], secret, bounds)]

    def snapshot(self, run: Any, secret: Any) -> dict[str, Any]:
        """What is known of a run now."""
        return self.store().snapshot(self.run(run, secret).id)

    def watched(self, run: RunFolder) -> Path:
        """Where the files of a run that its view fetches are copied to.

        Gradio serves them to whoever names them. So each run's folder has a name that only its own visitors are told:
        neither the run's id nor the folder of another run gives it away.
        """
        owner = run.json("about.json").get("owner")
        named = f"{owner if isinstance(owner, str) else ''}/{run.id}".encode()
        return self._watched / f"watched-{hmac.new(self._key, named, hashlib.sha256).hexdigest()}"

    # ------------------------------------------------------------ begin
    def start(
        self, values: Mapping[str, Any], secret: Any, probe: Path | None = None, fetch: bool = False
    ) -> RunFolder:
        """Make a run of the form's values and queue it.

        Args:
            values: of a plan.
            probe: a picture whose attention is followed; None: one of the data's.
            fetch: allow the download of coco8 or coco128.

        Raises:
            Refused, LimitError, PlanError: it may not be, or cannot be.
        """
        bounds = limits()
        check_may_start(secret, bounds)
        plan = plan_of(values, bounds)
        store = self.store()
        waiting = sum(store.state(run) in AT_WORK for run in store.runs())
        if bounds.queue and waiting >= bounds.queue:
            raise Refused("queue_full")
        self.check_disk(bounds)
        if plan.data.startswith("dataset:"):
            check_pictures(sum(self.pictures(plan, secret)), bounds)
        from halo_vis.training.begin import create
        from halo_vis.training.plan import Plan

        self._may_start_from(plan, secret)
        # The library's own class: this module's was loaded without the package, see train_plan.
        asked = Plan.from_dict(plan.as_dict())
        run = create(asked, self.runs_folder, self.data_root(secret), owner=owner_of(secret), probe=probe)
        try:
            if plan.data in COCO_SETS:
                from halo_vis.datasets import builtin

                builtin(plan.data, run.path / "data", fetch)  # the worker finds it there, and asks no host
            store.enqueue(run)
        except BaseException:
            shutil.rmtree(run.path, ignore_errors=True)  # a run that may not wait was never asked for
            raise
        return run

    def _may_start_from(self, plan: Any, secret: Any) -> None:
        kind, _, rest = plan.start.partition(":")
        if kind == "run":
            self.run(rest.partition("/")[0], secret)

    def kept(self, values: Mapping[str, Any], secret: Any) -> dict[str, Kept]:
        """What each member keeps of its start; builds the models, so one at a time."""
        from halo_vis.training import begin
        from halo_vis.training.plan import Plan

        plan = Plan.from_dict(values)
        self._may_start_from(plan, secret)
        with self.one_at_a_time:
            return begin.kept(plan, self.runs_folder, self.data_root(secret))

    def estimate(self, values: Mapping[str, Any], secret: Any) -> Estimate:
        """How long a run will take, from a step measured in a process of its own."""
        bounds = limits()
        check_may_start(secret, bounds)
        plan = plan_of(values, bounds)
        self._may_start_from(plan, secret)
        from halo_vis.training import begin
        from halo_vis.training.plan import Plan

        asked, counted = Plan.from_dict(plan.as_dict()), self.pictures(plan, secret)
        classes = self.classes(plan, secret)
        with self.one_at_a_time:
            return begin.estimate(asked, counted, guards.work_folder() / "steps", classes)

    # ------------------------------------------------------------ go on, end
    def act(self, action: str, run: Any, secret: Any) -> None:
        """Stop, stop now, kill or resume a run."""
        if action not in ACTIONS:
            raise Refused("no_run")
        bounds = limits()
        check_may_change(bounds)
        found = self.run(run, secret)
        if action == "resume":
            check_may_start(secret, bounds)
            self.check_disk(bounds)
        getattr(self.store(), action)(found.id)

    def delete(self, run: Any, secret: Any) -> None:
        """Throw a run away, with all that lies in its folder."""
        check_may_change(limits())
        self.store().delete(self.run(run, secret).id)

    def describe(self, run: Any, secret: Any, title: Any, note: Any) -> None:
        """Keep a title and a note of a run."""
        check_may_change(limits())
        found = self.run(run, secret)
        title, note = (value if isinstance(value, str) else "" for value in (title, note))
        if len(title) > LONGEST_TITLE or len(note) > LONGEST_NOTE:
            raise Refused("words_too_long")
        self.store().set_note(found.id, " ".join(title.split()), note)

    def files(self, kind: str, run: Any, secret: Any) -> list[Path]:
        """Files of a run to take away, written anew where Gradio may serve them.

        Args:
            kind: "weights" (.safetensors of each member; .pt too on a machine of one's own), "results" (zip), "onnx".
        """
        found = self.run(run, secret)
        from halo_vis.training import export

        about = found.json("about.json")
        title = about.get("title") if isinstance(about.get("title"), str) else ""
        stem = safe_name(title or found.id)
        folder = self.fresh()
        if kind == "results":
            return [export.results(found, folder / f"{stem}.zip")]
        made = []
        for card in sorted((found.path / "weights").glob("*.json")):
            weights = found.weights(card.stem)
            if not weights.is_file() or weights.is_symlink():
                continue
            name = f"{stem}-{safe_name(card.stem)}"
            if kind == "onnx":
                imgsz = found.json(f"weights/{card.name}").get("imgsz")
                made.append(export.onnx(weights, folder / f"{name}.onnx", imgsz if isinstance(imgsz, int) else 640))
                continue
            made.append(Path(shutil.copyfile(weights, folder / f"{name}.safetensors")))
            if not guards.hosted():
                made.append(export.pt(weights, folder / f"{name}.pt"))
        return made

    def probe_picture(self, run: RunFolder) -> Path | None:
        """A run's probe, copied to where Gradio may serve it; None where it has none."""
        source = run.path / "attention" / "probe.png"
        if not source.is_file() or source.is_symlink():
            return None
        return Path(shutil.copyfile(source, self.fresh() / "probe.png"))

    def delete_data(self, data: Any, secret: Any) -> None:
        """Throw an uploaded set away, unless a run still needs it."""
        check_may_change(limits())
        name = dataset_id(data)
        root = self.data_root(secret)
        from halo_vis.datasets import delete_dataset

        path = str(root / name / "data.yaml")
        for row in self.store().history():
            if row["state"] in AT_WORK and path in _recipe_text(self.runs_folder / row["id"]):
                raise Refused("data_in_use")
        delete_dataset(root, name)


def _recipe_text(run: Path) -> str:
    try:
        return (run / "run.yaml").read_text(encoding="utf-8")
    except OSError:
        return ""


def _store_settings(bounds: Limits) -> tuple[Any, Any]:
    """Settings and launcher of the store: a cluster where one is set."""
    from halo_vis.training.launch import LocalLauncher
    from halo_vis.training.store import StoreSettings
    from halo_vis.training.trackers import environment

    settings = StoreSettings(queue_length=bounds.queue, title_chars=LONGEST_TITLE, note_chars=LONGEST_NOTE)
    if not bounds.ray_address:
        return settings, LocalLauncher(passed=environment(bounds.trackers))
    from halo_vis.training.ray_jobs import RayLauncher

    return settings, RayLauncher(bounds.ray_address, bounds.ray_token or None)
