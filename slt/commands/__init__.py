"""What the commands that need torch do, each from a resolved configuration to its run folder."""
