"""`python -m bench attention`: the comparison, and all that it leaves in the folder of results."""

from __future__ import annotations

from ..figures import Figure
from ..peers.measure import FOLDER
from ..site import Site
from .compare import compare
from .entrants import entrants
from .report import figures, picture

POINTS, PICTURE = "attention-points.json", "attention-generation.png"


def attention(site: Site) -> list[Figure]:
    """Leaves all points and a picture in the folder of pictures."""
    found = compare(site, entrants(site, FOLDER))
    found.write(site.pictures / POINTS)
    picture(found, site.pictures / PICTURE)
    return figures(found)
