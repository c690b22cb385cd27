"""What rows come in as, how they become records, and which side of the split each prompt stands on."""
