import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import resource, sys, threading
import numpy as np
from toolkit.engine.allocator import keep_freed_memory

if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit("another C library")

def work():
    for _ in range(50):
        blocks = [np.ones(3 << 20, np.uint8) for _ in range(4)]
        del blocks

thread = threading.Thread(target=work)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
thread.start()
thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries are left as they are")
def test_memory_is_touched_for_the_first_time_only_once():
    def page_faults(how):
        command = [sys.executable, "-c", CODE, how]
        done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
        if "another C library" in done.stderr:
            pytest.skip("not glibc")
        return int(done.stdout)

    kept = page_faults("kept")
    assert kept < 10_000  # 12 MiB are 3072 pages of 4 KiB
    assert page_faults("given back") > 4 * kept
