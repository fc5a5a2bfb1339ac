"""The training loop: schedule, averaged weights, resuming, several processes; on a network of a few weights."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
from torch import nn

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import defaults_of
from rvos_ensemble.adapters.training.loop.averaged_weights import AveragedWeights
from rvos_ensemble.adapters.training.loop.loop import DEFAULTS, OPTIMIZERS, fit
from rvos_ensemble.adapters.training.loop.schedule import learning_rate
from rvos_ensemble.adapters.training.loop.task import TrainingTask


class Points(torch.utils.data.Dataset):
    """Endless points on a plane."""

    def __getitem__(self, i):
        x = torch.from_numpy(np.random.default_rng(i).normal(size=3).astype(np.float32))
        return x, x @ torch.tensor([1.0, -2.0, 0.5]) + 0.3


class Plane(TrainingTask):
    def __init__(self):
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))

    def samples(self):
        return Points()

    def collate(self, samples):
        return [torch.stack(x) for x in zip(*samples, strict=True)]

    def losses(self, batch, step):
        x, y = batch
        return {"square": (self.network(x)[:, 0] - y).square().mean()}

    def validate(self, network):
        x, y = self.collate([Points()[10**6 + i] for i in range(50)])
        return {"Error": float((network(x)[:, 0] - y).abs().mean())}


SHORT = {"steps": 40, "batch": 4, "lr": 1e-2, "validate_every": 20, "save_every": 10, "log_every": 10}


def rows(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def same(a, b):
    a, b = (torch.load(p / "last.pth", weights_only=True) for p in (a, b))
    return a["step"] == b["step"] and all(
        torch.equal(a[part][k], b[part][k]) for part in ("state_dict", "averages") for k in a[part]
    )


def test_the_loss_falls_and_the_folder_holds_weights_and_a_log(tmp_path):
    path = fit(Plane(), {**SHORT, "steps": 400}, tmp_path)
    log = rows(tmp_path)
    assert [row["step"] for row in log] == list(range(10, 401, 10))
    assert log[-1]["Error"] < 0.3 * log[1]["Error"]
    assert "Error" in log[1] and "Error" not in log[0]
    assert set(torch.load(path, weights_only=True)["state_dict"]) == set(Plane().network.state_dict())


class Interrupted(Plane):
    def __init__(self, at):
        super().__init__()
        self.at = at

    def losses(self, batch, step):
        if step == self.at:
            raise KeyboardInterrupt
        return super().losses(batch, step)


@pytest.mark.parametrize("at", [5, 10, 33])
def test_a_resumed_training_has_the_numbers_of_one_that_was_not_interrupted(tmp_path, at):
    fit(Plane(), SHORT, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(Interrupted(at), SHORT, tmp_path / "twice")
    fit(Plane(), SHORT, tmp_path / "twice")
    assert same(tmp_path / "whole", tmp_path / "twice")
    assert [r["step"] for r in rows(tmp_path / "twice")] == [10, 20, 30, 40]


def test_workers_change_nothing(tmp_path):
    fit(Plane(), SHORT, tmp_path / "none")
    fit(Plane(), {**SHORT, "workers": 2}, tmp_path / "two")
    assert same(tmp_path / "none", tmp_path / "two")


class Still(Plane):
    """A task without dropout, so that random numbers do not depend on the batch size."""

    def __init__(self):
        super().__init__()
        self.network[2].p = 0.0


def weights(out):
    return torch.cat([x.flatten() for x in torch.load(out / "last.pth", weights_only=True)["state_dict"].values()])


def test_accumulated_batches_are_one_large_batch(tmp_path):
    fit(Still(), {**SHORT, "batch": 4}, tmp_path / "large")
    fit(Still(), {**SHORT, "batch": 1, "accumulate": 4}, tmp_path / "parts")
    torch.testing.assert_close(weights(tmp_path / "parts"), weights(tmp_path / "large"), atol=1e-5, rtol=1e-4)


class Slope(Plane):
    """A loss that decreases by 8 when its only weight increases by 1."""

    def __init__(self):
        self.network = nn.Linear(3, 1, bias=False)
        nn.init.zeros_(self.network.weight)

    def losses(self, batch, step):
        return {"slope": -8 * self.network.weight[0, 0]}

    def validate(self, network):
        return {}


@pytest.mark.parametrize("longest, step", [(0, 4.0), (8.5, 4.0), (2.0, 1.0)])
def test_gradients_are_cut_to_their_longest(longest, step, tmp_path, monkeypatch):
    monkeypatch.setitem(OPTIMIZERS, "adam", torch.optim.SGD)
    fit(Slope(), {**SHORT, "optimizer": "adam", "steps": 1, "lr": 0.5, "warmup": 0, "clip": longest}, tmp_path)
    assert weights(tmp_path).tolist() == pytest.approx([step, 0, 0], rel=1e-5)


SCRIPT = """
    import sys
    from pathlib import Path
    import torch
    torch.set_num_threads(1)
    sys.path[:0] = {path!r}
    from test_training_loop import *
    if __name__ == "__main__":
        fit({task}(), {{**SHORT, **{settings!r}}}, Path({out!r}))
"""


def script(tmp_path, out, task="Still", **settings):
    file = tmp_path / f"{out.name}.py"
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    file.write_text(textwrap.dedent(SCRIPT).format(path=[root, *sys.path], out=str(out), task=task, settings=settings))
    return file


@pytest.mark.slow
def test_two_processes_with_half_the_batch_are_one_with_all(tmp_path):
    fit(Still(), SHORT, tmp_path / "one")
    file = script(tmp_path, tmp_path / "two", batch=2)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    torch.testing.assert_close(weights(tmp_path / "two"), weights(tmp_path / "one"), atol=1e-5, rtol=1e-4)
    assert len(rows(tmp_path / "two")) == 4


class Slow(Plane):
    def losses(self, batch, step):
        time.sleep(0.02)
        return super().losses(batch, step)


def test_a_killed_training_resumes(tmp_path):
    fit(Plane(), {**SHORT, "save_every": 1}, tmp_path / "whole")
    file = script(tmp_path, tmp_path / "killed", task="Slow", save_every=1)
    process = subprocess.Popen([sys.executable, str(file)], stderr=subprocess.DEVNULL)
    while not (tmp_path / "killed" / "last.pth").exists():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    fit(Plane(), {**SHORT, "save_every": 1}, tmp_path / "killed")
    assert same(tmp_path / "whole", tmp_path / "killed")


def test_other_settings_are_refused_and_named(tmp_path):
    fit(Plane(), SHORT, tmp_path)
    with pytest.raises(InputError, match=r"last\.pth.*lr=0\.01 \(now 0\.02\)"):
        fit(Plane(), {**SHORT, "lr": 2e-2}, tmp_path)
    fit(Plane(), {**SHORT, "log_every": 7}, tmp_path)  # how often it reports may change


def test_a_run_made_from_something_else_is_not_resumed(tmp_path):
    fit(Plane(), SHORT, tmp_path, {"weights": "a.pth", "validate_clips": 3})
    fit(Plane(), SHORT, tmp_path, {"weights": "a.pth", "validate_clips": 4, "new": (1, 2)})
    with pytest.raises(InputError, match=r"last\.pth.*weights='a\.pth' \(now 'b\.pth'\)"):
        fit(Plane(), SHORT, tmp_path, {"weights": "b.pth"})


def test_another_network_and_a_damaged_file_are_refused(tmp_path):
    fit(Plane(), SHORT, tmp_path)
    other = Plane()
    other.network.append(nn.Linear(1, 1))
    with pytest.raises(InputError, match="of another network"):
        fit(other, SHORT, tmp_path)
    (tmp_path / "last.pth").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"last\.pth: not the state of a training run"):
        fit(Plane(), SHORT, tmp_path)


def test_wrong_settings_are_reported_together(tmp_path):
    with pytest.raises(InputError) as error:
        fit(Plane(), {"optimizer": "sgd", "batch": 0, "steps": 0, "precision": "fp64"}, tmp_path)
    assert len(error.value.problems) == 4
    with pytest.raises(InputError, match=r"unknown key `learning_rate`.*Valid: accumulate"):
        fit(Plane(), {"learning_rate": 1}, tmp_path)


class Exploding(Plane):
    def losses(self, batch, step):
        return {"square": super().losses(batch, step)["square"] / (0.0 if step > 25 else 1.0)}


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_saved_state(tmp_path):
    with pytest.raises(FloatingPointError, match="step 30"):
        fit(Exploding(), SHORT, tmp_path)
    state = torch.load(tmp_path / "last.pth", weights_only=True)
    assert state["step"] == 20
    assert all(v.isfinite().all() for v in state["state_dict"].values())


def test_bf16_trains(tmp_path):
    fit(Plane(), {**SHORT, "steps": 200, "precision": "bf16"}, tmp_path)
    assert rows(tmp_path)[-1]["Error"] < 0.7


def test_averages_are_those_of_a_naive_loop():
    network = nn.Linear(2, 1)
    averages = AveragedWeights(network, 5)
    expected = [v.clone() for v in network.state_dict().values()]
    for count in range(1, 60):
        with torch.no_grad():
            for weight in network.parameters():
                weight.normal_()
        averages.update(network)
        decay = min(1 - 1 / 5, count / (count + 9))
        expected = [decay * e + (1 - decay) * v for e, v in zip(expected, network.state_dict().values(), strict=True)]
    torch.testing.assert_close(list(averages.state.values()), expected)


def test_what_decays():
    groups = Plane().groups(1.0, 0.1)
    assert {g["weight_decay"]: [p.dim() for p in g["params"]] for g in groups} == {0.1: [2, 2], 0.0: [1, 1]}


def test_the_learning_rate_rises_then_falls():
    s = {**defaults_of(DEFAULTS), "steps": 200}
    rates = [learning_rate(i, s) for i in range(200)]
    top = rates.index(max(rates))
    assert rates[:top] == sorted(rates[:top]) and rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[top] == 1 and 0.05 < rates[-1] < 0.07
