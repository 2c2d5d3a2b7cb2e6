"""A clip in one picture, a pose, curves: what the reports of several rooms show."""
