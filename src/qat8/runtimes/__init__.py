"""Where a stage runs. Only this package knows; a stage is the same argv everywhere."""
