"""The text that a classifier was trained to read, which is its authors' and comes from a file."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from align.errors import RecipeError


@dataclass(frozen=True)
class Template:
    """What is known of such a text beforehand."""

    places: tuple[str, ...]
    """What it leaves open, each written `{name}`."""
    published: str
    """Where it can be read."""
    digest: str
    """sha256 of the published text, its lines bare of outer white space."""

    def checked(self, text: str, where: str) -> str:
        """The text; RecipeError where it does not leave open what it must."""
        missing = [name for name in self.places if f"{{{name}}}" not in text]
        if missing:
            raise RecipeError(
                f"{where}: no place for {', '.join(f'{{{name}}}' for name in missing)}; expected the classifier's "
                f"prompt as {self.published} has it, between its quotation marks"
            )
        return text

    def as_published(self, text: str) -> bool:
        """Whether it is their text, however it was indented."""
        bare = "\n".join(line.strip() for line in text.strip().splitlines())
        return hashlib.sha256(bare.encode("utf-8", "surrogatepass")).hexdigest() == self.digest


def filled(template: str | None, **values: str) -> str:
    """The template with each `{name}` replaced, once: what a value itself says of places stays as it is."""
    assert template is not None, "the stage reads the template of an instrument that has one"
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found.group(1), found.group()), template)
