"""Which servers are spoken to: none that is open to the network with the credentials that everybody knows."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from align.errors import UsageError

KNOWN_KEYS = tuple(f"{name}.apikey" for name in ("argilla", "owner", "admin", "annotator", "rubrix", "team"))
"""API keys of Argilla's own examples and start-up scripts."""
NEAR = (".local", ".lan", ".internal", ".home.arpa")


def is_loopback(host: str) -> bool:
    """Can only this machine reach it?"""
    if host.strip("[]").rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def refuse_unsafe(url: str, api_key: str) -> str | None:
    """UsageError where a server that others can reach has a well-known key, or is on the internet without encryption.

    Returns a warning where keys and answers cross a private network in the clear.
    """
    parts = urlsplit(url)
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(f"{url}: not the address of a server; expected http://… or https://…")
    if is_loopback(host):
        return None
    if api_key in KNOWN_KEYS:
        raise UsageError(
            f"{url}: its API key is one of Argilla's defaults, which everybody knows, and {host} is not this machine; "
            "give the account a key and a password of its own before anybody labels there"
        )
    if parts.scheme == "https":
        return None
    if not is_private(host):
        raise UsageError(f"{url}: the API key and all answers would cross the internet in the clear; use https://")
    return f"{url}: the API key and all answers cross the network in the clear; https:// would hide them"


def is_private(host: str) -> bool:
    """An address or name that is only known inside a network."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.lower().endswith(NEAR)
