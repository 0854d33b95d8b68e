"""Data sets to train on: uploads rebuilt by allow-list, coco8 and coco128, a check of any, and pictures of them.

Nothing here takes a shortcut through Ultralytics' own reading of data sets, which runs what a YAML's ``download:``
says, unpickles label caches and follows ``.txt`` lists out of the folder. What it gets to read was written by us.
"""

from halo_vis.datasets.builtin import BUILTIN, builtin
from halo_vis.datasets.catalogue import Dataset, delete_dataset, list_datasets, open_dataset
from halo_vis.datasets.drawn import histogram, previews
from halo_vis.datasets.importing import import_zip
from halo_vis.datasets.limits import DataError, Limits, Problem
from halo_vis.datasets.report import Report, check

__all__ = [
    "BUILTIN",
    "DataError",
    "Dataset",
    "Limits",
    "Problem",
    "Report",
    "builtin",
    "check",
    "delete_dataset",
    "histogram",
    "import_zip",
    "list_datasets",
    "open_dataset",
    "previews",
]
