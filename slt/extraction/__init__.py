"""From films, pictures and key points to a corpus of streams."""
