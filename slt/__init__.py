"""Sign language translation, from film to sentence."""

import os

# Before torch is imported: its threads then spin briefly at a barrier and go to sleep, instead of spinning on. With a
# loader process or anything else on the same cores, spinning on makes a training step half as slow again
# or worse (tests/bench/threads.py).
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
