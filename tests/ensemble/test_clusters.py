"""Clips on clusters: what travels, workers that die, several machines, shards. Real Dask and Ray in the slow tests."""

import pickle
import sys
from collections import Counter
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.tiny import H, T, W, make_tiny
from test_nothing_lost import sleeping
from test_pipeline import manifest, run, statuses, tree

import run_ensemble
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.engine.clips import list_clips
from rvos_ensemble.ensemble.engine.storage.results import Draft, prepare
from rvos_ensemble.ensemble.engine.workers import clusters, workers
from rvos_ensemble.ensemble.engine.workers.clusters import WorkerDied, on_cluster, run_task, task_of
from rvos_ensemble.ensemble.recipe.recipe import load


class Simulated:
    """A cluster in this process: tasks wait until they are asked for, the last first; those of some clips kill."""

    def __init__(self, slots=2, deaths=()):
        self.size, self.deaths = slots, Counter(deaths)
        self.waiting, self.most, self.tasks = {}, 0, []

    def slots(self):
        return self.size

    def submit(self, task):
        self.tasks.append(task)
        handle = f"task {len(self.tasks)}"
        self.waiting[handle] = task
        self.most = max(self.most, len(self.waiting))
        return handle

    def first(self, handles):
        assert set(handles) == set(self.waiting)
        return handles[-1]

    def result(self, handle):
        folder, packed = self.waiting.pop(handle)
        clip = pickle.loads(packed)[1]
        if self.deaths[name := getattr(clip, "name", clip)] > 0:
            self.deaths[name] -= 1
            raise WorkerDied("killed by SIGKILL")
        return run_task(folder, packed)


@pytest.fixture
def simulated(monkeypatch):
    """Replaces every cluster; returns the function that says which."""

    def use(cluster):
        monkeypatch.setattr(workers, "open_cluster", lambda backend, here, gpu: nullcontext(cluster))
        return cluster

    return use


def double(number):
    return 2 * number


@pytest.mark.parametrize(("most", "in_flight"), [(None, 3), (2, 2), (50, 10)])
def test_as_many_tasks_as_there_are_workers(most, in_flight):
    cluster = Simulated(slots=3)
    assert dict(on_cluster(cluster, double, range(10), most)) == {n: 2 * n for n in range(10)}
    assert cluster.most == in_flight


def test_a_cluster_that_grows_is_used():
    cluster = Simulated(slots=0)
    results = on_cluster(cluster, double, range(10))
    next(results)
    assert cluster.most == 1
    cluster.size = 4
    assert len([*results]) == 9 and cluster.most == 4


def test_clips_whose_worker_died_are_tried_again_alone():
    cluster = Simulated(slots=4, deaths={3: 1, 5: 1, 7: 9})
    results = dict(on_cluster(cluster, double, range(10)))
    assert {n for n, r in results.items() if isinstance(r, WorkerDied)} == {7}
    assert {n: r for n, r in results.items() if n != 7} == {n: 2 * n for n in range(10) if n != 7}
    assert len(cluster.tasks) == 13


def test_a_run_of_which_workers_die(tmp_path, simulated, capsys):
    tiny = make_tiny(tmp_path, clips=tuple("abcd"))
    assert run(tiny) == 0
    wanted = tree(tiny.out)
    out = tmp_path / "cluster"
    again = [f"recipe={tiny.recipe}", f"out={out}", "engine.backend=dask", "engine.workers=2"]
    simulated(Simulated(deaths={"a": 1, "c": 2}))
    assert run_ensemble.main(again) == 1
    assert statuses(out) == {"a": "done", "b": "done", "c": "failed", "d": "done"}
    told = capsys.readouterr().err
    assert "clip c: its worker process died" in told and "(killed by SIGKILL)" in told
    cluster = simulated(Simulated())
    assert run_ensemble.main(again) == 0
    assert len(cluster.tasks) == 1 and tree(out) == wanted


def test_paths_travel_and_no_pixels(tiny, simulated):
    """A task holds names and paths: as large as that of a clip of a hundredth of the pixels, give or take."""
    cluster = simulated(Simulated())
    assert run(tiny, "engine.backend=ray") == 0
    sizes = [len(packed) for _, packed in cluster.tasks]
    assert len(sizes) == 3 and max(sizes) < 12_000 < T * H * W * 3
    _, clip = pickle.loads(cluster.tasks[0][1])
    assert clip.name == "a" and clip.read(0).shape == (H, W, 3)


def test_relative_paths_start_in_the_folder_of_the_run(tmp_path, monkeypatch):
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    for path in (folder, elsewhere):
        path.mkdir()
    (folder / "file").write_text("found")
    monkeypatch.chdir(folder)
    task = task_of(partial(open, mode="r"), "file")
    monkeypatch.chdir(elsewhere)
    with run_task(*task) as file:
        assert file.read() == "found"


def test_a_machine_without_the_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone: cannot be used on machine .*all machines share"):
        run_task(str(tmp_path / "gone"), b"")


def test_classes_of_a_file_of_the_users_travel_by_value(tmp_path):
    from rvos_ensemble.adapters.core.own_code import import_file

    (tmp_path / "mine.py").write_text("class Mine:\n    def __init__(self, n):\n        self.n = n\n")
    module, _ = import_file(str(tmp_path / "mine.py"), "adapter")
    _, packed = task_of(double, module.Mine(3))
    assert pickle.loads(packed)[1].n == 3


def test_two_machines_at_the_same_clip_do_not_disturb_each_other(tmp_path):
    """The scheduler has lost sight of one, which still works; the results are the same."""
    prepare(tmp_path)
    first, second, failing = (Draft(tmp_path, "a").__enter__() for _ in range(3))
    for draft in (first, second, failing):
        draft.write("Annotations/0/1.png", b"x")
    failing.__exit__(ValueError)
    for draft in (first, second):
        draft.write("record.json", b"x")
        draft.__exit__(None)
    files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert files == ["clips/a/Annotations/0/1.png", "clips/a/record.json"] and not [*(tmp_path / "new").iterdir()]


# -------------------------------------------------------------------------------------------------------------- shards


def test_shards_and_a_last_run_give_the_results_of_one(tmp_path, count=2):
    tiny = make_tiny(tmp_path, clips=tuple("abc"))
    assert run(tiny) == 0
    wanted, table = tree(tiny.out), (tiny.out / "metrics.csv").read_bytes()
    store, last = tmp_path / "store", tmp_path / "last"
    for i in range(count):
        out = tmp_path / f"shard{i}"
        assert (
            run_ensemble.main([f"recipe={tiny.recipe}", f"out={out}", f"store={store}", f"shard={i + 1}/{count}"]) == 0
        )
        assert sorted(statuses(out)) == list("abc")[i::count] and not (out / "submission.zip").exists()
    assert run_ensemble.main([f"recipe={tiny.recipe}", f"out={last}", f"store={store}"]) == 0
    assert not any({"smr", "smr_flow"} & {*clip["computed"]} for clip in manifest(last)["clips"].values())
    assert tree(last) == wanted and (last / "metrics.csv").read_bytes() == table


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2", "1/2/3", "1.5/2"])
def test_what_is_no_shard(tiny, capsys, shard):
    assert run(tiny, f"shard={shard}", f"store={tiny.out}") == 2
    assert f"shard is '{shard}', expected I/N" in capsys.readouterr().err


def test_a_shard_needs_a_store_and_a_clip(tiny, tmp_path, capsys):
    assert run(tiny, "shard=1/2") == 2
    assert "shard=1/2 needs store=DIR" in capsys.readouterr().err
    assert run(tiny, "shard=4/4", f"store={tmp_path / 'store'}") == 2
    assert "no clip is left for it, because there are 3" in capsys.readouterr().err


def test_shards_have_folders_of_their_own(tiny):
    shard = load([f"recipe={tiny.recipe}", "shard=2/8", "store=s"])
    assert str(shard.out) == "runs/tiny-2-of-8" and not shard.config["submission"]
    assert [c.name for c in list_clips(load([f"recipe={tiny.recipe}", "shard=2/2", "store=s"])).clips] == ["b"]


# ------------------------------------------------------------------------------------------------------- real clusters


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_a_worker_that_dies_costs_one_clip(tmp_path, capsys, backend, package):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install 'rvos-ensemble[cluster]'")
    tiny = make_tiny(tmp_path, clips=tuple("abcdefgh"))
    arguments = [*sleeping(tiny, seconds=0.05, die_on="c"), "engine.workers=2", f"engine.backend={backend}"]
    assert run_ensemble.main(arguments) == 1
    assert {n for n, s in statuses(tiny.out).items() if s == "failed"} == {"c"}
    assert "clip c: its worker process died" in capsys.readouterr().err
    assert run_ensemble.main([*arguments, "sources.sleeper.die_on=z"]) == 0
    resumed = tree(tiny.out)
    out = tmp_path / "sequential"
    assert run_ensemble.main([*arguments, "sources.sleeper.die_on=z", "engine.backend=sequential", f"out={out}"]) == 0
    assert tree(out) == resumed


def test_gpus_of_a_ray_cluster_are_asked_for(monkeypatch):
    """Ray hides all GPUs from a task that asks for none."""
    asked = {}
    fake = SimpleNamespace()
    fake.cluster_resources = lambda: {"CPU": 16.0, "GPU": 8.0}
    fake.remote = lambda **needs: lambda function: asked.update(needs)
    monkeypatch.setitem(sys.modules, "ray", fake)
    assert clusters.Ray(gpu=True).slots() == 8 and asked["num_gpus"] == 1
    assert clusters.Ray(gpu=False).slots() == 16 and asked["num_gpus"] == 0
    fake.cluster_resources = lambda: {"CPU": 16.0}
    assert clusters.Ray(gpu=True).slots() == 16 and asked["num_gpus"] == 0


def test_a_cluster_that_cannot_be_used_is_a_sentence(tiny, monkeypatch, capsys):
    """Ray raises plain exceptions, Dask errors of the network; both are simulated, because the real ones take long."""

    def fails(*_, **__):
        raise TimeoutError("nobody answers")

    modules = {"ray": {"is_initialized": lambda: False, "init": fails}, "distributed": {"Client": fails}}
    modules["dask"] = {"config": SimpleNamespace(set=lambda settings: nullcontext())}
    for name, content in modules.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**content))
    monkeypatch.setenv("RAY_ADDRESS", "there:6379")
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://there:8786")
    for backend, address in (("ray", "there:6379"), ("dask", "tcp://there:8786")):
        assert run(tiny, f"engine.backend={backend}") == 2
        assert f"cluster at {address} cannot be used: nobody answers" in capsys.readouterr().err


def test_results_are_handed_on_as_they_come():
    """At no time does a cluster hold more than its workers are at."""
    cluster = Simulated(slots=2)
    for n, (_, array) in enumerate(on_cluster(cluster, np.zeros, [5] * 20)):
        assert len(array) == 5 and len(cluster.tasks) <= n + 3
