"""Argilla, where people judge: a server of our own or anybody's, the accounts on it, and the desk that speaks to it."""
