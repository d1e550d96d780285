"""`python -m bench peers`: the comparison, and all that it leaves in the folder of results."""

from __future__ import annotations

from pathlib import Path

from ..figures import Figure
from ..site import Site
from .compare import compare, entrants
from .report import figures, picture

#: Where peers are installed: large, ignored by git, and no place where packages of ours are looked for.
FOLDER = Path("build/peers")

POINTS, PICTURE = "peers-points.json", "peers.png"


def peers(site: Site) -> list[Figure]:
    """Leaves all points and a picture in the folder of pictures."""
    found = compare(site, entrants(FOLDER))
    found.write(site.pictures / POINTS)
    picture(found, site.pictures / PICTURE)
    return figures(found)
