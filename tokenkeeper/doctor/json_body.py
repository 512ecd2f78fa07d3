"""The body of a server's response, if it is a JSON object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokenkeeper.oauth.exchange import HttpAnswer

__all__ = ["json_object"]


def json_object(answer: HttpAnswer) -> Mapping[str, Any]:
    """Return the JSON object in the body of *answer*, or an empty one if there is none."""
    try:
        content = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
