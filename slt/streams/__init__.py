"""What a model reads of a clip: crops, poses and features, from file or camera to `Batch`."""
