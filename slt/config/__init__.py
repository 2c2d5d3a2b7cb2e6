"""All that knows Hydra: the way in, the schema, checks, and parts built from a resolved configuration."""
