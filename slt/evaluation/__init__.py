"""After translation: what a trained model's sentences are worth, and a page that shows it."""
