"""Plan -> measure -> summarise: which configurations, the testers' runs, the results file's records."""
