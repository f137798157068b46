"""What S3 and STS say, fit to be stored, shown and logged.

An error's text is the server's own. One that debugs, or means ill, repeats our request in it: signatures, session tokens.
"""

from __future__ import annotations

import re

_READ = 2_000  # characters: what comes after is not looked at
_GONE = "[removed]"

# From here on a request is repeated, in a form of which nobody knows the end.
_REPEATED = re.compile(
    r"(AWS4-[A-Z0-9-]{1,40}SHA256"
    r"|\b(?:x-amz-)?authorization[\"']?\s?(?:[:=>]|%3[ad])"
    r"|\bcanonical[ _-]?(?:request|string)"
    r"|\bstring[ _-]?to[ _-]?sign).{2,2000}",
    re.IGNORECASE,
)
# In headers, query strings, JSON and XML; encoded once or twice.
_NAMED = re.compile(
    r"((?:signature|credential|(?:security|session)-?token|secret-?(?:access-?)?key)"
    r"(?:provided)?[\"']?\s?(?:[:=>]|%(?:25)?3[ad])\s?[\"']?)[^\s&,;\"'<>]{1,2000}",
    re.IGNORECASE,
)
# Signatures are 64 hexadecimal digits, session tokens some hundred characters of base64. What has no digits is words.
_BARE = re.compile(r"(?=[a-fA-F]{0,63}[0-9])[0-9a-fA-F]{64,2000}|(?=[A-Za-z+/=%]{0,99}[0-9])[0-9A-Za-z+/=%]{100,2000}")


def scrub(text: str, longest: int) -> str:
    """Return a stranger's text as one line of visible characters without what looks like a credential, cut at `longest`.

    By patterns only, since what a server makes of a credential can't be foreseen.
    """
    # First what can't be seen: it would hide a name from the patterns.
    visible = "".join(c for c in " ".join(text[:_READ].split()) if c.isprintable())
    kept = _REPEATED.sub(rf"\1 {_GONE}", visible)
    kept = _NAMED.sub(rf"\1{_GONE}", kept)
    return _BARE.sub(_GONE, kept)[:longest]
