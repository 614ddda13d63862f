"""Soak: testers at work for long, watched from outside; memory, files and threads that grow are leaks."""
