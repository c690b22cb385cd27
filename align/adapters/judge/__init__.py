"""A model as a judge of two answers: what it is asked, how its word is read, and the endpoint that it stands behind."""
