"""Sign language translation, from film to sentence."""

import os

# Before torch is imported: its threads then sleep at a barrier instead of spinning. With a loader process or anything
# else on the same cores, spinning makes a training step several times slower (tests/bench/threads.py).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
