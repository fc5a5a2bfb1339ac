"""A browser, and a run whose report is tested, for all tests of the report."""

import pytest
from helpers import browser as chromium
from helpers.report_page import HOSTILE, ODD, rename, run
from helpers.tiny import make_tiny


@pytest.fixture(scope="session")
def tab():
    program = chromium.find()
    if program is None:
        pytest.skip("no chromium on the path: apt-get install chromium")
    browser = chromium.Browser(program)
    yield browser
    browser.close()


@pytest.fixture
def web(tab):
    """The browser; afterwards, it must have reported no problem and requested only local files."""
    tab.look(1280, 900)
    tab.problems.clear()
    tab.requests.clear()
    yield tab
    assert tab.problems == []
    assert all(r.startswith(("file:", "data:", "blob:")) for r in tab.requests), tab.requests


@pytest.fixture(scope="session")
def done(tmp_path_factory):
    """A run on the tiny benchmark with a hostile expression and a clip with an odd name."""
    tiny = make_tiny(tmp_path_factory.mktemp("report"), clips=("a", ODD, "c"))
    rename(tiny.root, "1", HOSTILE, ODD)
    assert run(tiny) == 0
    return tiny
