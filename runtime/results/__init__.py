"""What a run says: cycles, counts, energy."""
