"""Self-supervised pretraining: unlabelled crops in, a backbone out that training loads by one key."""
