"""Names that only the workflows inside Cloudify use."""

from __future__ import annotations

from typing import Final

#: the provider of whatever is performed by other plugins here
CLOUDIFYS: Final = "cloudify"
#: runtime property with what snapshots and backups left, by the name of the restore point
POINTS: Final = "quiesce_points"
#: parameter that says that a restore point stands in no catalog: the old plugin made it, say
MADE_ELSEWHERE: Final = "made_elsewhere"
