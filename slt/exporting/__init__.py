"""From a checkpoint to a folder that translates: exportable forms of the model, their graphs, and proof of parity."""
