"""The study as web pages: one pair at a time for annotators, progress and exports for who runs it."""
