"""Stores of several machines: behind URLs, on shared folders, and on file systems without locks."""

import errno
import fcntl
import multiprocessing
import socket

import fsspec
import pytest
from helpers.tiny import make_tiny
from test_pipeline import manifest, run, tree
from test_store import prediction, same

import run_ensemble
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.engine.storage.folders import MARK, owned, shared
from rvos_ensemble.ensemble.engine.storage.store import Store, encode
from rvos_ensemble.ensemble.engine.storage.stores import UrlStore, file_system, in_use, open_store
from rvos_ensemble.ensemble.recipe.recipe import load


@pytest.fixture
def url(request):
    """A URL in the memory of this process, of this test alone."""
    place = f"memory://{request.node.name.replace('[', '-').replace(']', '')}/store"
    yield place
    files, root = file_system(place)
    if files.exists(root):
        files.rm(root, recursive=True)


@pytest.fixture(scope="module")
def bucket():
    """The URL of a bucket on an S3 server of this machine."""
    reason = "needs an S3 server: pip install 'moto[server]' s3fs"
    server = pytest.importorskip("moto.server", reason=reason)
    pytest.importorskip("s3fs", reason=reason)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = server.ThreadedMotoServer("127.0.0.1", port, verbose=False)
    running.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "of-a-test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "of-a-test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3").mkdir("bucket")
        yield "s3://bucket"
    file_system.cache_clear()
    running.stop()


# ---------------------------------------------------------------------------------------------------------------- URLs


def test_what_is_written_behind_a_url_is_read(url):
    store = open_store(url)
    assert isinstance(store, UrlStore) and store.load("v", "smr", "k") is None
    store.save("v", "smr", "k", prediction())
    same(prediction(), store.load("v", "smr", "k"))
    same(prediction(), store.load("v", "of another name", "k"))
    assert store.load("v", "smr", "other") is None and store.load("w", "smr", "k") is None


def test_layout_and_entries_are_those_of_a_folder(url, tmp_path):
    open_store(url).save("v", "smr", "k", prediction())
    Store(tmp_path).save("v", "smr", "k", prediction())
    files, root = file_system(url)
    assert files.cat_file(f"{root}/v/smr-k.masks") == (tmp_path / "v/smr-k.masks").read_bytes()


def test_a_damaged_entry_behind_a_url_counts_as_absent(url):
    files, root = file_system(url)
    files.pipe_file(f"{root}/v/smr-k.masks", encode(prediction())[:-7])
    assert UrlStore(url).load("v", "smr", "k") is None


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_runs_share_a_store_behind_a_url(tmp_path, url, kind, request):
    """A second run, of another folder, computes nothing, and has the results of a run with a local store."""
    place = url if kind == "memory" else f"{request.getfixturevalue('bucket')}/runs/store"
    tiny = make_tiny(tmp_path, clips=("a", "b"))
    assert run(tiny) == 0
    for out, computed in (("first", True), ("second", False)):
        command = [f"recipe={tiny.recipe}", f"out={tmp_path / out}", f"store={place}"]
        assert run_ensemble.main(command) == 0
        assert tree(tmp_path / out) == tree(tiny.out)
        steps = [{"smr", "smr_flow"} & {*clip["computed"]} for clip in manifest(tmp_path / out)["clips"].values()]
        assert [len(s) for s in steps] == [2 * computed] * 2
        assert not (tmp_path / out / "store").exists()
    files, root = file_system(place)
    assert files.exists(f"{root}/{MARK}") and len(files.ls(f"{root}/a")) == 2


def test_a_bucket_that_does_not_exist_is_a_sentence(bucket, tiny, capsys):
    assert run(tiny, "store=s3://no-such-bucket/store") == 2
    told = capsys.readouterr().err
    assert "s3://no-such-bucket/store: cannot be used as a store" in told and "Traceback" not in told


def test_what_is_somebody_elses_is_left_alone(url):
    files, root = file_system(url)
    files.pipe_file(f"{root}/thesis.tex", b"precious")
    with pytest.raises(InputError, match="not empty, and not an earlier store of runs"), in_use(url):
        pass
    assert files.cat_file(f"{root}/thesis.tex") == b"precious" and not files.exists(f"{root}/{MARK}")


@pytest.mark.parametrize("place", ["nonsense://x/store", "zip://x"])
def test_urls_that_cannot_be_used_are_refused_before_anything(tiny, capsys, place):
    assert run(tiny, f"store={place}") == 2
    assert f"error: {place}: cannot be used as a store" in capsys.readouterr().err
    assert not tiny.out.exists()


def test_a_protocol_whose_package_is_missing(tiny, capsys, monkeypatch):
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda *_, **__: 1 / 0 if _ is None else __import__("no_such_s3"))
    assert run(tiny, "store=s3://missing-package/store") == 2
    assert "pip install 'rvos-ensemble[remote]'" in capsys.readouterr().err


def test_a_server_that_fails_is_not_an_absent_entry(url, monkeypatch):
    files, _ = file_system(url)
    monkeypatch.setattr(files, "ls", lambda path, detail: 1 / 0)
    with pytest.raises(OSError, match=f"{url}: ZeroDivisionError"):
        UrlStore(url).load("v", "smr", "k")
    monkeypatch.setattr(files, "pipe_file", lambda path, data: 1 / 0)
    with pytest.raises(OSError, match=url):
        UrlStore(url).save("v", "smr", "k", prediction())


def test_a_file_url_is_a_folder(tiny, tmp_path):
    recipe = load([f"recipe={tiny.recipe}", f"store=file://{tmp_path}/store"])
    assert recipe.store == tmp_path / "store" and isinstance(open_store(recipe.store), Store)


# ------------------------------------------------------------------------------------------------------ shared folders


def write_and_read(folder, number, wrong):
    """One machine: writes entries that others write too, and reads theirs all the time."""
    store = Store(folder)
    with shared(folder):
        for n in range(40):
            store.save("v", "smr", f"k{n % 4}", prediction(n % 4))
            for k in range(4):
                found = store.load("v", "smr", f"k{k}")
                if found is not None and encode(found) != encode(prediction(k)):
                    wrong.put((number, n, k))
    wrong.put(None)


def test_many_writers_and_readers_of_the_same_entries(tmp_path):
    context = multiprocessing.get_context("fork")
    wrong = context.Queue()
    machines = [context.Process(target=write_and_read, args=(tmp_path / "store", i, wrong)) for i in range(3)]
    for machine in machines:
        machine.start()
    assert [wrong.get(timeout=120) for _ in machines] == [None] * 3
    for machine in machines:
        machine.join()
    assert sorted(p.name for p in (tmp_path / "store/v").iterdir()) == [f"smr-k{k}.masks" for k in range(4)]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks(tmp_path, monkeypatch, code):
    """A store needs none; a folder of results, which has one owner, is refused with the reason."""

    def none(*_):
        raise OSError(code, "no locks")

    monkeypatch.setattr(fcntl, "flock", none)
    with shared(tmp_path / "store"):
        Store(tmp_path / "store").save("v", "smr", "k", prediction())
    same(prediction(), Store(tmp_path / "store").load("v", "smr", "k"))
    with pytest.raises(InputError, match="its file system has no locks"), owned(tmp_path / "out", "run"):
        pass
