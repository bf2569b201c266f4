"""The user's cache does not grow without end, and keeps nothing of a killed command."""

import os

from pipeline.home import KEPT, sweep_cache


def test_old_files_and_what_a_kill_left_go_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path))
    for number in range(4):
        for place in (
            "scans/{}.json",
            "vega/{}.js",
            "runs/{}.json",
            "scans/{}.npz",
            "archives/{}/stamp/x.png",
        ):
            path = tmp_path / place.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.utime(path, (number, number))
    left = tmp_path / "archives" / "1" / ".partial-abcdefgh-unpacking"
    left.mkdir()
    os.utime(left, (0, 0))
    sweep_cache()
    assert not left.exists()
    assert sorted(each.name for each in (tmp_path / "vega").iterdir()) == ["2.js", "3.js"]
    assert sorted(each.name for each in (tmp_path / "scans").iterdir()) == [f"{n}.npz" for n in range(4)]
    assert len(list((tmp_path / "runs").iterdir())) == 4 <= KEPT["runs/*.json"]
    assert len(list(tmp_path.glob("archives/*/stamp/x.png"))) == 4
