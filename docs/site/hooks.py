"""Hook of MkDocs: links from pages to files outside docs/ become plain text, and options in brackets are not taken for links."""

import re

_OPTION = re.compile(r"\[(--[^\]\n]*)\](?!\()")
_OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace links to ``../FILE`` by their text, and escape brackets around options."""
    return _OPTION.sub(r"\\[\1\\]", _OUTSIDE.sub(r"\1", markdown))
