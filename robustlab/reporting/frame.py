"""What every page is set in: style, script and the policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from robustlab import shelf

__all__ = ["frame"]


def frame() -> dict[str, Any]:
    """Values that the templates need besides a page's own: ``style``, ``script``, ``policy``."""
    from markupsafe import Markup

    script = (shelf.reports() / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {
        "style": Markup((shelf.reports() / "page.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "policy": (
            "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
            f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        ),
    }
