"""The store: what goes in comes out; what is damaged never does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.ensemble.engine.storage.store import DamagedEntry, Store, atomic_write, decode, encode, key_of


def prediction(seed=0, width=13):
    random = np.random.default_rng(seed)
    binary = MaskSequence.binary(random.random((3, 5, width)) < 0.5, scores=[0.1, 1 / 3, 1], key_frames=[2])
    return {
        "0": binary,
        "1": binary.with_(
            notes={"group": ["0", "1"]}, presence=1 / 3, signals={"object_score": np.float32([np.nan, 0.1, 1])}
        ),
        "2": MaskSequence.prob(random.integers(0, 256, (3, 5, width), np.uint8)),
        "10": MaskSequence(random.integers(0, 600, (3, 5, width)).astype(np.uint16), "votes", total=600),
    }


def same(a, b):
    assert list(a) == list(b)
    for i in a:
        assert (a[i].kind, a[i].total, dict(a[i].notes)) == (b[i].kind, b[i].total, dict(b[i].notes))
        assert a[i].presence == b[i].presence and a[i].signals.keys() == b[i].signals.keys()
        assert all(np.array_equal(v, b[i].signals[k], equal_nan=True) for k, v in a[i].signals.items())
        assert (a[i].scores is None) == (b[i].scores is None)
        assert a[i].scores is None or np.array_equal(a[i].scores, b[i].scores)
        for t in range(len(a[i])):
            assert a[i].masks[t].dtype == b[i].masks[t].dtype
            assert np.array_equal(a[i].masks[t], b[i].masks[t])


@pytest.mark.parametrize("width", [1, 8, 13, 64, 65])
def test_round_trip(tmp_path, width):
    store = Store(tmp_path)
    store.save("v", "smr", "k", prediction(width=width))
    loaded = store.load("v", "smr", "k")
    same(prediction(width=width), loaded)
    assert loaded["0"].masks is loaded["1"].masks, "masks that were shared still are"
    assert store.load("v", "smr", "other") is None


@given(st.data())
def test_any_damage_is_noticed(data):
    entry = encode(prediction())
    kind = data.draw(st.sampled_from(["flip", "cut", "append"]))
    if kind == "flip":
        at = data.draw(st.integers(0, len(entry) - 1))
        damaged = entry[:at] + bytes([entry[at] ^ (1 << data.draw(st.integers(0, 7)))]) + entry[at + 1 :]
    elif kind == "cut":
        damaged = entry[: data.draw(st.integers(0, len(entry) - 1))]
    else:
        damaged = entry + b"\0"
    with pytest.raises(DamagedEntry):
        decode(damaged)


def test_a_damaged_entry_counts_as_absent(tmp_path):
    store = Store(tmp_path)
    store.save("v", "smr", "k", prediction())
    path = store.path("v", "smr", "k")
    path.write_bytes(path.read_bytes()[:-100])
    assert store.load("v", "smr", "k") is None


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    atomic_write(path, "old")

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(path, "new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_keys_differ_when_anything_does():
    base = {"threshold": 3, "inputs": ["a", "b"]}
    others = [{"threshold": 3.0, "inputs": ["a", "b"]}, {"threshold": 3, "inputs": ["b", "a"]}, {"threshold": 3}]
    keys = {key_of("vote", 1, base), key_of("vote", 2, base), *(key_of("vote", 1, o) for o in others)}
    assert len(keys) == 5
