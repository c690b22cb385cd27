"""One file a stage: its heart (pure), its hands (open, call, write), its VERSION."""
