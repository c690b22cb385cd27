"""A publisher killed half way, and run again: every record once, and what was answered meanwhile is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.adapters.argilla.made import Annotator, desk, eggs

N = 1000
CHILD = """
import sys
from pathlib import Path
from tests.adapters.argilla.made import desk, eggs
home, kept, n = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
work = eggs(n)
desk(home, kept, "killed").publish(work.prompts, work.candidates, work.comparisons)
"""


def test_a_publisher_killed_at_half_and_run_again_gives_exactly_n_and_keeps_the_answers(argilla, tmp_path):
    root = str(Path(__file__).parents[3])
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, argilla.home.path, tmp_path, str(N)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
    )
    deadline = time.monotonic() + 60
    while sum(path.read_text().count("\n") for path in tmp_path.glob("*/put-*.txt")) < N // 3:
        assert child.poll() is None, "it was done before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    assert child.wait(30) == -signal.SIGKILL
    work = eggs(N)
    at = desk(argilla.home.path, tmp_path, "killed")
    before = at.server.records(at.server.datasets(at.server.workspaces()["align"])[at.settings.name]["id"])
    assert N // 3 <= len(before) < N, "killed half way"
    person = Annotator(argilla.url, argilla.add().api_key)
    person.says_all({one["id"]: {"preference": "a"} for one in before[:20]})
    for _ in range(2):
        at.publish(work.prompts, work.candidates, work.comparisons)
        rows = at.server.records(at.dataset_id)
        assert len(rows) == N
        assert {one["external_id"] for one in rows} == {one.id for one in work.comparisons}
    assert {one.comparison_id for one in at.pull()} == {one["external_id"] for one in before[:20]}
