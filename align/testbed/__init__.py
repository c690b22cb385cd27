"""A small made world whose truth is known: its text, its requests, and the simulated people who judge answers in it."""
