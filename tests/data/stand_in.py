"""Stands in for a tester in a soak: says what one says, and leaks what it is told: `stand_in.py SECONDS WHAT`."""

import os
import sys
import threading
import time

seconds, what = float(sys.argv[1]), sys.argv[2]
start, kept, batches = time.monotonic(), [], 0
while (now := time.monotonic() - start) < seconds:
    batches += 1
    if what == "memory":
        kept.append(os.urandom(64 << 10))
    if what == "files":
        kept.append(os.open("/dev/null", os.O_RDONLY))
    if what == "threads":
        threading.Thread(target=time.sleep, args=(seconds,), daemon=True).start()
    if what == "death" and now > seconds / 2:
        sys.exit("error: it broke")
    print(f"soak: {now:.1f} s, rounds {batches}, batches {batches}, images {batches}, other class 0", flush=True)
    time.sleep(0.02)
