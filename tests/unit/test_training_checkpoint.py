"""Checkpoints: resumed when they are of this training and whole, otherwise not, and then nothing is touched."""

import gc
import json
import resource
import sys

import numpy as np
import pytest

from qat8.training.checkpoint import Checkpoints, Position


class Session:
    """The part of a session that checkpoints use."""

    def __init__(self, **values: float) -> None:
        self.values = {name: np.full((50, 50), value, np.float32) for name, value in values.items()}
        self.persistables = sorted(values)

    def get(self, name):
        return self.values[name]

    def set(self, name, value):
        self.values[name] = value

    def means(self) -> dict:
        return {name: float(value.mean()) for name, value in self.values.items()}


TRAINED = Position("me", "updates", 7, 0.25, "epoch 1", [{"at": "epoch 1", "divergence": 0.25}])


@pytest.fixture
def saved(tmp_path):
    """A directory with both files of a training that stands at TRAINED, a = 1 and b = 2."""
    checkpoints = Checkpoints(tmp_path, Session(a=1, b=2))
    checkpoints.save(TRAINED)
    checkpoints.keep_best(TRAINED)
    return tmp_path


def test_a_training_goes_on_where_it_stood(saved):
    session = Session(a=0, b=0)
    assert Checkpoints(saved, session).resume("me") == TRAINED
    assert session.means() == {"a": 1, "b": 2}


def test_without_a_checkpoint_it_starts_anew(tmp_path, capsys):
    session = Session(a=0)
    assert Checkpoints(tmp_path, session).resume("me") == Position("me", "start", 0, 0.0, "", [])
    assert session.means() == {"a": 0} and capsys.readouterr().out == ""


def anew(directory, fingerprint="me", session=None) -> bool:
    """Whether it starts anew, with the session as it was."""
    session = session or Session(a=0, b=0)
    before = session.means()
    return Checkpoints(directory, session).resume(fingerprint) == Position(fingerprint) and session.means() == before


def test_the_checkpoint_of_another_training_is_not_resumed_and_touches_nothing(saved, capsys):
    assert anew(saved, "another")
    assert "latest.npz is of another configuration, data or weights: starting anew" in capsys.readouterr().out


@pytest.mark.parametrize("session", [Session(a=0), Session(a=0, b=0, c=0)])
def test_the_checkpoint_of_other_variables_is_not_resumed(saved, session):
    assert anew(saved, session=session)


@pytest.mark.parametrize("length", [0, 10, 3000, 12000, -1])
def test_a_truncated_checkpoint_starts_anew_and_touches_nothing(saved, capsys, length):
    content = (saved / "latest.npz").read_bytes()
    (saved / "latest.npz").write_bytes(content[:length])
    assert anew(saved)
    assert "latest.npz is not readable" in capsys.readouterr().out


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_flipped_byte_in_any_array_starts_anew_and_touches_nothing(saved, share):
    content = bytearray((saved / "latest.npz").read_bytes())
    content[int(len(content) * share)] ^= 1
    (saved / "latest.npz").write_bytes(content)
    assert anew(saved)


@pytest.mark.parametrize("position", ["[]", "{", '{"fingerprint": "me", "unknown": 1}', "{}", "null"])
def test_a_position_that_is_none_starts_anew(saved, position):
    arrays = {"a": np.ones(1), "b": np.ones(1), "__position__": np.array(position)}
    np.savez(saved / "latest.npz", **arrays)
    assert anew(saved)


class Attack:
    """Unpickled, it makes a file."""

    def __init__(self, proof: str) -> None:
        self.proof = proof

    def __reduce__(self):
        return open, (self.proof, "w")


def test_a_pickle_in_the_checkpoints_place_is_not_run(saved):
    proof = saved / "owned"
    position = np.array([Attack(str(proof))], dtype=object)
    np.savez(saved / "latest.npz", a=np.ones(1), b=np.ones(1), __position__=position)
    assert anew(saved) and not proof.exists()


@pytest.mark.parametrize(
    "harm", [lambda p: p.unlink(), lambda p: p.write_bytes(b""), lambda p: p.write_bytes(p.read_bytes()[:9000])]
)
def test_without_its_best_state_a_training_cannot_end_so_it_starts_anew(saved, harm):
    harm(saved / "best.npz")
    assert anew(saved)


def test_a_training_that_has_judged_nothing_yet_needs_no_best_state(tmp_path):
    Checkpoints(tmp_path, Session(a=1)).save(Position("me", "ranges"))
    session = Session(a=0)
    assert Checkpoints(tmp_path, session).resume("me").phase == "ranges" and session.means() == {"a": 1}


def test_best_and_latest_are_kept_apart(tmp_path):
    session = Session(a=1)
    checkpoints = Checkpoints(tmp_path, session)
    checkpoints.keep_best(Position("me", "updates", 3, best_at="then"))
    session.set("a", np.full((50, 50), 9.0))
    checkpoints.save(Position("me", "updates", 5))
    assert checkpoints.load_best("me").best_at == "then" and session.means() == {"a": 1}
    assert checkpoints.load_best("another") is None


def test_a_failed_save_keeps_the_checkpoint_before(saved):
    broken = Session(a=3, b=4)
    del broken.values["b"]
    with pytest.raises(KeyError):
        Checkpoints(saved, broken).save(Position("me", "updates", 8))
    assert Checkpoints(saved, Session(a=0, b=0)).resume("me") == TRAINED


def test_a_disk_that_ends_in_the_middle_of_a_save_is_one_error_and_keeps_the_checkpoint_before(saved, monkeypatch):
    ignored, before, limits = [], (saved / "latest.npz").read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            Checkpoints(saved, Session(a=3, b=4)).save(TRAINED)
        gc.collect()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not ignored
    assert (saved / "latest.npz").read_bytes() == before and len(list(saved.iterdir())) == 2


def test_a_checkpoint_is_the_file_that_numpy_would_write(saved, tmp_path):
    with np.load(saved / "latest.npz") as arrays:
        np.savez(tmp_path / "numpy.npz", **arrays)
    assert (saved / "latest.npz").read_bytes() == (tmp_path / "numpy.npz").read_bytes()


def test_what_a_run_killed_while_saving_left_is_cleared(saved):
    for name in (".latest.npz.tmp-abc", ".best.npz.tmp-def"):
        (saved / name).write_bytes(b"half")
    Checkpoints(saved, Session(a=0, b=0))
    assert sorted(p.name for p in saved.iterdir()) == ["best.npz", "latest.npz"]


def test_the_position_is_readable_by_people(saved):
    with np.load(saved / "latest.npz") as arrays:
        assert json.loads(str(arrays["__position__"]))["best_at"] == "epoch 1"
