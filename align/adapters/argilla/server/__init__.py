"""What runs inside Argilla's own environment: argilla_server and what that stands on, and nothing of ours."""
