"""Sign language translation, from film to sentence."""

import os

# Before torch is imported: its threads then spin briefly at a barrier and go to sleep, instead of spinning on. With a
# loader process or anything else on the same cores, spinning on makes a training step half as slow again
# or worse (tests/bench/threads.py).
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
# Before OpenCV is: a JPEG of a few bytes may say that it is of 2^30 pixels, which would take 3 GB.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**27))
