import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from rvos_ensemble.ensemble.engine.memory import keep_freed

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        first, second = np.ones(1 << 20, np.uint8), np.ones(1 << 20, np.uint8)
        del first, second
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if KEEP:
    keep_freed()
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_arrays_are_used_again():
    counts = []
    for keep in (False, True):
        code = FAULTS.replace("KEEP", str(keep))
        counts.append(int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout))
    assert counts[1] < 50 < counts[0]  # less than a page an array, where a new one has hundreds
