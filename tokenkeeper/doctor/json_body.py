"""What a server answers, as JSON if it is any."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokenkeeper.oauth.exchange import HttpAnswer

__all__ = ["as_json"]


def as_json(answer: HttpAnswer) -> Mapping[str, Any]:
    """Return the JSON object that *answer* holds; an empty one for anything else."""
    try:
        content = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
