"""One file a board: what is told to it is slt/training/dashboard.py, its keys are a file of conf/board/."""
