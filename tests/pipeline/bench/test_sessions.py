"""Files that did not take turns are not paired: what lies between two sessions is no difference of theirs."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from report_records import measurement, sha256

from pipeline.bench.baselines import compare_measured
from pipeline.bench.host import MeasuredFile, run_rounds
from pipeline.bench.table import verdict
from pipeline.records.measurement import measurement_from_record, setting_of
from pipeline.sessions import SessionMedian, SessionSpread, session_of, session_spread
from pipeline.store.store import open_store

PHONE = "Google Pixel 7 1a2b3c4d"


def measured(name, session, *, factor=1.0, rounds=10, seed=0, sessions=None):
    """A file of 10 ms whose rounds scatter by half a percent, in a session slower by a factor."""
    generator = np.random.default_rng([seed, *name.encode(), *session.encode()])
    medians = tuple((10 * factor * np.exp(generator.normal(0, 0.005, rounds))).tolist())
    found = measurement(
        sha256(name),
        where=PHONE,
        path=f"{name}.tflite",
        median_ms=float(np.median(medians)),
        noise_ms=0.03,
        round_medians_ms=medians,
        round_sessions=sessions or (session,) * rounds,
        measured_utc=f"2026-11-23T10:08:{seed:02}+00:00",
    )
    return MeasuredFile(measurement=found, round_medians_ms=medians, size_bytes=1)


def test_an_offset_between_two_days_is_no_verdict():
    found = compare_measured(measured("one", "monday"), measured("two", "tuesday", factor=1.02), {})
    assert found.larger_than_noise is None
    assert (found.low, found.high) == (None, None)
    assert verdict(found) == "another session"


def test_files_that_took_turns_are_paired_round_by_round():
    found = compare_measured(measured("one", "monday", factor=1.02), measured("two", "monday"), {})
    assert found.in_turns
    assert found.larger_than_noise
    assert found.low < 1.02 < found.high


def test_rounds_that_two_calls_measured_are_paired_where_both_were_there():
    ours = measured("one", "both", sessions=("monday",) * 7 + ("tuesday",) * 3)
    other = measured("two", "both", sessions=("monday",) * 6 + ("tuesday",) * 4)
    assert compare_measured(ours, other, {}).larger_than_noise is not None  # nine rounds
    other = measured("two", "both", sessions=("monday",) * 4 + ("wednesday",) * 6)
    assert compare_measured(ours, other, {}).larger_than_noise is None  # four


def test_what_an_older_version_stored_took_turns_with_nothing():
    ours = measured("one", "monday", sessions=("",) * 10)
    other = measured("two", "monday", sessions=("",) * 10)
    assert not compare_measured(ours, other, {}).in_turns
    record = json.loads(json.dumps(vars(ours.measurement)))
    del record["round_sessions"]
    assert measurement_from_record(record).round_sessions == ()


def test_the_interval_holds_what_sessions_differ_by():
    spread = SessionSpread(log_std=0.01, num_sessions=6)
    spreads = {setting_of(measured("one", "monday").measurement): spread}
    close = compare_measured(measured("one", "monday", factor=1.02), measured("two", "tuesday"), spreads)
    assert close.larger_than_noise is False
    # t for 5 degrees of freedom, two sessions' standard deviations, and 0.3% of either's own noise
    assert math.log(close.high / close.low) / 2 == pytest.approx(
        math.hypot(2.571 * 0.01 * math.sqrt(2), 0.003, 0.003), rel=0.01
    )
    far = compare_measured(measured("one", "monday", factor=1.1), measured("two", "tuesday"), spreads)
    assert far.larger_than_noise


def test_sessions_are_told_apart_at_most_once_in_twenty_by_chance():
    generator = np.random.default_rng(0)
    claims = 0
    for _ in range(2000):
        days = generator.normal(0, 0.02, 6)  # four sessions to learn from, two to compare
        own = generator.normal(0, 0.002, (3, 6))
        known = [
            SessionMedian(file=file, session=f"day {day}", median_ms=math.exp(days[day] + own[file, day]))
            for file in range(3)
            for day in range(4)
        ]
        spread = session_spread(known)
        claims += abs(days[4] + own[0, 4] - days[5] - own[1, 5]) > spread.log_half_width
    assert spread.num_sessions == 4
    assert 0.035 < claims / 2000 < 0.065


def test_one_session_tells_nothing_of_others():
    assert (
        session_spread([SessionMedian(file=name, session="monday", median_ms=1.0) for name in "abc"]) is None
    )
    assert session_of(("monday", "monday")) == "monday"
    assert session_of(("monday", "tuesday")) is None
    assert session_of(()) is session_of(("", "")) is None


def test_the_store_learns_the_spread_from_files_measured_again(tmp_path):
    factors = {"monday": 1.0, "tuesday": 1.02, "friday": 1.04}
    with open_store(tmp_path) as store:
        for number, (session, factor) in enumerate(factors.items()):
            store.add_measurement(measured("one", session, factor=factor, seed=number).measurement)
        assert store.session_spreads().keys() == {setting_of(measured("one", "monday").measurement)}
        (spread,) = store.session_spreads().values()
    assert spread.num_sessions == 3
    assert spread.log_std == pytest.approx(0.02, rel=0.1)


def test_the_files_of_one_call_here_are_of_one_session(files, quick):
    one, ten = (each.measurement for each in run_rounds([files["one"], files["ten"]], quick).measured)
    assert session_of(one.round_sessions) == session_of(ten.round_sessions) is not None
    assert len(one.round_sessions) == one.num_rounds
    (again,) = run_rounds([files["one"]], quick).measured
    assert session_of(again.measurement.round_sessions) != session_of(one.round_sessions)


def test_files_of_two_calls_on_a_phone_get_no_verdict_and_those_of_one_do(bench, files):
    six = ("--num-runs", "12", "--min-secs", "0", "--warmup-min-secs", "0", "--num-rounds", "6")
    assert bench(files["one"], quick=six)[0] == 0
    status, out, _ = bench(files["one"], files["ten"], quick=six)
    assert status == 0
    assert "another session" in out
    assert "ten and one, cpu with XNNPACK, 1 thread: measured in different sessions: no verdict" in out
    assert "Every pair" not in out
    status, out, _ = bench(files["one"], files["ten"], "--again", quick=six)
    assert status == 0
    assert re.search("x as long|noise|unsteady", out)  # a verdict, which other tests beside may blur
    assert "session" not in out
