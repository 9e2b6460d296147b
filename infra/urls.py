"""Addresses as messages show them."""

import re


def shown_url(url: str) -> str:
    """Without user and password."""
    return re.sub(r"//[^@/]*@", "//", url)
