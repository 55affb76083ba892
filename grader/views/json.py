"""A scorecard as JSON: the public form, `Scorecard.to_json`, for scripts. It adds and omits nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence

from grader.judge.scorecard import Scorecard


def render(scorecards: Sequence[Scorecard], *, many: bool) -> str:
    """One object, or a list when several exercises were asked for.

    Everything beyond ASCII is escaped, so that what a candidate printed can neither drive a terminal nor
    break on an encoding.
    """
    documents = [card.to_json() for card in scorecards]
    return json.dumps(documents if many else documents[0], indent=2, allow_nan=False, ensure_ascii=True)
