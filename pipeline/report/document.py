"""The frame of an HTML page that works offline. Standard library only."""

from __future__ import annotations

from html import escape

_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def document(*, title: str, policy: str, style: str, body: str) -> str:
    """The whole page around a body of HTML; escapes the title. The policy limits what may be loaded."""
    return _DOCUMENT.format(policy=policy, title=escape(title), style=style, body=body)
