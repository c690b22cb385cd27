"""Measurements become a page that a person reads, tables in a terminal, and a model card."""
