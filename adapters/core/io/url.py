"""URLs, where a path or a URL can be given."""

from __future__ import annotations

import re


def is_url(text: str) -> bool:
    """Whether a text is a URL, not a path.

    >>> is_url("s3://bucket/store"), is_url("runs/s3:/store")
    (True, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None
