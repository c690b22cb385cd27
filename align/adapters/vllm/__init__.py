"""vLLM: an offline engine in a process of its own, and its server, in whichever environment has it."""
