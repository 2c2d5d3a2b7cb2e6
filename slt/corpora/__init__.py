"""Corpora on disk: their tables, splits, readers and checks."""
