"""Plots: the page's own colours, nothing that tells one drawing from an equal one, nothing drawn for what is absent."""

from __future__ import annotations

import re

from align.report.plots import Whisker, learning_curve, margin_strip, whiskers

ROWS = [Whisker("base", "base", 0.5, 0.4, 0.6), Whisker("tuned", "tuned", None, None, None)]


def test_equal_numbers_give_equal_bytes() -> None:
    assert whiskers(ROWS, name="a", shares=True) == whiskers(ROWS, name="a", shares=True)


def test_every_colour_and_letter_is_the_pages() -> None:
    svg = whiskers(ROWS, name="a", shares=True) + learning_curve(
        [(1, 2.0), (2, 1.0)], [(2, 1.5)], name="b", metric="loss"
    )
    painted = set(re.findall(r"(?:fill|stroke): ?([^;\"]+)", svg))
    assert painted <= {
        "none",
        "var(--ink)",
        "var(--faint)",
        "var(--grid)",
        "var(--base)",
        "var(--train)",
        "var(--held-out)",
    }
    assert set(re.findall(r"font-family: ([^;\"]+)", svg)) == {"var(--sans)"}
    assert "DejaVu" not in svg


def test_what_was_not_measured_has_no_dot_and_is_said_so() -> None:
    svg = whiskers(ROWS, name="a", shares=True)
    assert "var(--tuned)" not in svg
    assert 'aria-label="base 0.5 (0.4 to 0.6), tuned not measured"' in svg


def test_shares_are_drawn_on_the_whole_axis() -> None:
    labels = re.findall(r">([\d.]+)</text>", whiskers(ROWS, name="a", shares=True))
    assert (labels[0], labels[-1]) == ("0.0", "1.0")


def test_a_lost_number_breaks_the_curve_and_not_the_plot() -> None:
    assert "<svg" in learning_curve([(1, 2.0), (2, float("nan")), (3, 1.0)], [], name="c", metric="loss")
    assert "<svg" in learning_curve([(1, float("nan"))], [], name="d", metric="loss")


def test_first_losses_that_dwarf_the_last_are_drawn_on_a_logarithmic_axis() -> None:
    steep = learning_curve([(i, 8.0 if i == 0 else 1.0) for i in range(9)], [], name="e", metric="loss")
    assert [label for label in re.findall(r">([\d.]+)</text>", steep) if label == "5"]


def test_a_strip_shades_what_lies_beyond_the_edge() -> None:
    strip = margin_strip(0.1, 0.0, 0.2, edge=0.05)
    edge = float(re.findall(r'<path d="M([\d.]+) 0V16"', strip)[0])
    point = float(re.findall(r'cx="([\d.]+)"', strip)[0])
    assert edge < point
    assert margin_strip(None, None, None, edge=0.05) == ""
