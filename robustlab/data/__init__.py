"""Images with labels: `Data`, and `load_data` for the sources that have a name. Needs no torch."""

from robustlab.data.dataset import Data
from robustlab.data.sources import load_data

__all__ = ["Data", "load_data"]
