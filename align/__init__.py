"""Turns people's preferences into a language model one can trust."""
