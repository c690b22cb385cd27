"""The compose file for teams: pinned, closed to the outside, and without a password of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

FILE = Path(__file__).resolve().parents[3] / "recipes" / "argilla-team" / "compose.yml"
SECRETS = {"ARGILLA_OWNER_PASSWORD", "ARGILLA_OWNER_API_KEY", "ARGILLA_AUTH_SECRET_KEY", "ARGILLA_DATABASE_PASSWORD"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(YAML(typ="safe").load(FILE.read_text())["services"])


def test_every_image_is_pinned_to_a_version(services: dict[str, Any]) -> None:
    images = {name: service["image"] for name, service in services.items()}
    assert len(images) == 6
    assert all(re.search(r":v?\d+\.\d+(\.\d+)?$", image) for image in images.values()), images
    assert images["argilla"] == images["worker"] == "argilla/argilla-server:v2.8.0"


def test_nothing_but_the_proxy_is_reached_from_outside(services: dict[str, Any]) -> None:
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]
    assert [name for name, service in services.items() if "outside" in service["networks"]] == ["proxy"]


def test_no_secret_has_a_default() -> None:
    text = "\n".join(line for line in FILE.read_text().splitlines() if not line.startswith("#"))
    asked = re.findall(r"\$\{(\w+)(:\?|:-|\})", text)
    assert {name for name, how in asked if how == ":?"} == SECRETS | {"ARGILLA_DOMAIN"}
    assert {name for name, how in asked if how != ":?"} == {"REINDEX_DATASETS"}
    assert not re.findall(r"12345678|apikey|PASSWORD: \w", text)


def test_whatever_is_kept_is_in_a_volume_and_what_is_waited_for_says_when_it_is_ready(services: dict[str, Any]) -> None:
    for name in ("postgres", "elasticsearch", "argilla"):
        assert services[name]["volumes"]
    for name in services["argilla"]["depends_on"]:
        assert services[name]["healthcheck"]["test"][0] == "CMD"
