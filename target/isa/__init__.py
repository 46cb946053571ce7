"""The instruction set: declared once in `instructions`, everything else derived."""
