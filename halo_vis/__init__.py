"""HaloVis: see what YOLO26 with HaloAttention looks at."""

__version__ = "0.1.0"

from halo_vis.attention import HaloAttention
from halo_vis.inspection import Inspection, inspect
from halo_vis.pairs import load_pair
from halo_vis.trace import capture
from halo_vis.transplant import transplant

__all__ = ["HaloAttention", "Inspection", "capture", "inspect", "load_pair", "transplant"]
