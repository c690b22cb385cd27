"""What is planted is found, whatever the land; what only looks like it is left alone; nothing found is shown."""

from __future__ import annotations

import string
import tokenize
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from random import Random

import pytest

from align.data.personal import Census, find, iban, luhn, masked, redacted, without
from align.records import Message

CARRIERS = (
    "You can reach me at {} any time.",
    "{}",
    'name,contact\n"Mira Tolm","{}"\n',
    "Bitte an {}, danke! / 请联系 {}。",
)
"""Plain speech, nothing else, a table, another script."""


def card(prefix: str, n: int) -> str:
    """A number of `n` digits whose checksum is right."""
    body = (prefix + "4719025836471902583")[: n - 1]
    return next(body + str(d) for d in range(10) if luhn(body + str(d)))


def account(country: str, rest: str) -> str:
    return next(f"{country}{n:02}{rest}" for n in range(2, 99) if iban(f"{country}{n:02}{rest}"))


def spaced(text: str, n: int = 4) -> str:
    return " ".join(text[i : i + n] for i in range(0, len(text), n))


LETTERS = Random(5).choices(string.ascii_letters + string.digits, k=40)
KEY = "".join(LETTERS)
PLANTED: dict[str, tuple[str, ...]] = {
    "e-mail": ("mira.tolm@example.com", "j.o'x_92+news@mail.example.co.uk".replace("'", ""), "anna@bücher.example.de",
               "li.wei@shouji.example.cn", "PEDRO@EXAMPLE.COM.BR"),
    "telephone": ("+1 415 555 2671", "+44 20 7946 0958", "+49 (0)30 901820", "+86 138 0013 8000", "+55 11 91234-5678"),
    "telephone, at home": ("(415) 555-2671", "415-555-2671", "tel: 030 901820 15", "phone 020 7946 0958",
                           "call 11 91234 5678"),
    "bank account": (account("DE", "370400440532013000"), spaced(account("GB", "NWBK60161331926819")),
                     account("FR", "20041010050500013M02606"), spaced(account("BR", "00360305000010009795493C1")),
                     account("NO", "86011117947")),
    "payment card": (card("4", 16), spaced(card("51", 16)), card("34", 15), card("6011", 16),
                     "-".join(card("62", 16)[i : i + 4] for i in range(0, 16, 4))),
    "address of a machine": ("93.184.216.34", "8.8.4.4", "185.60.216.35", "114.114.114.114", "200.160.2.3"),
    "address of a machine, long": ("2606:2800:220:1:248:1893:25c8:1946", "2001:4860:4860::8888", "2a03:2880:f12f:83::1",
                                   "2408:8000::1", "2804:14d::5"),
    "key": tuple(f"hf_{KEY[i:i + 34]}" for i in range(5)),
    "key, another": tuple(f"sk-{KEY[i:i + 32]}" for i in range(5)),
    "key, of others": (f"ghp_{KEY[:36]}", "AKIA" + KEY[:16].upper(), f"gho_{KEY[1:37]}", "AKIA" + KEY[9:25].upper(),
                       f"ghs_{KEY[2:38]}"),
}  # fmt: skip


def test_of_two_hundred_planted_things_hardly_any_is_missed() -> None:
    missed = []
    n = 0
    for kind, things in PLANTED.items():
        for thing in things:
            for carrier in CARRIERS:
                text = carrier.replace("{}", thing)
                n += 1
                hit = [text[one.start : one.end] for one in find(text) if one.kind == kind.partition(",")[0]]
                if not any(thing in got or (got in thing and len(got) > 0.65 * len(thing)) for got in hit):
                    missed.append((kind, masked(thing), carrier[:12]))
    assert n == 200
    assert len(missed) <= 4, missed


def words_of_code() -> list[str]:
    """The project's own source, as a reader sees it."""
    root = Path(__file__).parents[2] / "align"
    return [tokenize.open(path).read() for path in sorted(root.rglob("*.py"))]


def dates() -> str:
    rng = Random(1)
    days = [date(1990, 1, 1) + timedelta(days=rng.randrange(15_000)) for _ in range(4000)]
    forms = ("%Y-%m-%d", "%d/%m/%Y", "%d.%m.%Y", "%Y%m%d", "%b %d, %Y", "%Y-%m-%dT10:22:03.123456+00:00")
    return " ".join(day.strftime(forms[i % len(forms)]) for i, day in enumerate(days))


def numbers() -> str:
    rng = Random(2)
    return " ".join(
        rng.choice((f"{rng.randrange(10**9):,}", f"{rng.random():.8f}", f"v{rng.randrange(9)}.{rng.randrange(20)}.0.1",
                    f"{rng.randrange(1, 400)}-{rng.randrange(400, 900)}", f"ISBN 978-3-16-148410-{rng.randrange(10)}",
                    f"{rng.getrandbits(64):x}", f"00:{rng.randrange(60):02}:{rng.randrange(60):02}"))
        for _ in range(6000)
    )  # fmt: skip


def test_code_dates_and_numbers_are_nobodys() -> None:
    texts = [*words_of_code(), dates(), numbers()]
    n_words = sum(len(text.split()) for text in texts)
    false = Counter(one.kind for text in texts for one in find(text))
    assert n_words > 50_000
    assert false.total() <= n_words / 100_000, f"{dict(false)} in {n_words} words"


def test_checksums_tell_numbers_that_only_look_alike() -> None:
    good = card("4", 16)
    bad = good[:-1] + str((int(good[-1]) + 1) % 10)
    assert [one.kind for one in find(f"card {good}")] == ["payment card"]
    assert not find(f"order {bad}")
    assert iban("DE89370400440532013000")
    assert not iban("DE88370400440532013000")
    assert not luhn("0" * 16)
    assert not find("at home it is 192.168.1.20, and the loop is 127.0.0.1 or ::1")


def test_redaction_names_the_kind_and_keeps_the_rest() -> None:
    text = "Write to a@example.com or b@example.com, or call +1 415 555 2671."
    assert redacted(text) == "Write to [e-mail] or [e-mail], or call [telephone]."
    assert redacted("nothing here") == "nothing here"
    turns = (Message(role="user", content=text), Message(role="assistant", content="Fine."))
    kept = without(turns)
    assert kept[1] is turns[1]
    assert kept[0].role == "user"


def test_what_is_told_holds_nothing_of_what_was_found() -> None:
    census = Census()
    for i in range(9):
        census.add([f"mail to person{i}@example.com", "and again person@example.org"], f"file.jsonl:{i}")
    told = census.told()
    assert told["e-mail"]["finds"] == 18
    assert told["e-mail"]["rows"] == 9
    assert len(told["e-mail"]["some_places"]) == 5
    assert told["e-mail"]["some_places"][0] == "file.jsonl:0: p…m (19 characters)"
    assert "example" not in str(told)


@pytest.mark.parametrize(
    "text", ["", " ", "@", "::", "+" * 500, "1" * 500, "a@" * 300, "1-" * 300, "(" * 300, "1." * 400]
)
def test_odd_text_takes_no_time_and_gives_no_find(text: str) -> None:
    assert find(text) == []
