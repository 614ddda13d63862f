"""Where a model's time goes, operator by operator: what ran, with which kernel and types, for how long."""
