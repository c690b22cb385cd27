"""What runs inside Argilla's own environment: it imports argilla_server and what that stands on, and nothing of ours."""
