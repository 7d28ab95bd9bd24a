"""The views in the order of the page. A new view is one file and one line here."""

from __future__ import annotations

from robustlab.reporting.anatomy import anatomy
from robustlab.reporting.belief import belief
from robustlab.reporting.breaks import breaks
from robustlab.reporting.curves import curves
from robustlab.reporting.filters import PARTS as FILTERS
from robustlab.reporting.filters import filters
from robustlab.reporting.fooling.reach import PROBE as REACH
from robustlab.reporting.fooling.reach import reach
from robustlab.reporting.fragile import fragile
from robustlab.reporting.gallery import gallery
from robustlab.reporting.invariance import PARTS, invariance
from robustlab.reporting.losses import losses
from robustlab.reporting.making import making
from robustlab.reporting.opening import opening
from robustlab.reporting.probes import probes
from robustlab.reporting.radii import radii
from robustlab.reporting.ranking import ranking
from robustlab.reporting.section import View
from robustlab.reporting.tables import tables

__all__ = ["LEADS", "VIEWS"]

VIEWS: list[View] = [
    opening,
    belief,
    curves,
    ranking,
    tables,
    losses,
    radii,
    gallery,
    fragile,
    reach,
    breaks,
    invariance,
    anatomy,
    filters,
    probes,
    making,
]

# A probe that a suite asks first -> the anchor of the section that its page opens with.
LEADS = {
    **dict.fromkeys(PARTS, "invariance"),
    **dict.fromkeys(FILTERS, "filters"),
    "anatomy": "anatomy",
    REACH: "reach",
}
