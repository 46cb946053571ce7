"""What a result is shown as: timelines, rooflines, tables."""
