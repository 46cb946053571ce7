"""What an exported program changes beside its results: buffers and parameters are its state."""

from ....target.errors import UnsupportedError


def refuse_changes(program) -> None:
    """Raise UnsupportedError for a decomposed program that changes a buffer, or its input.

    TVM's importer drops such changes, and later calls would give wrong values.
    """
    changed = [
        spec for spec in program.graph_signature.output_specs if "MUTATION" in spec.kind.name
    ]
    if changed:
        listed = ", ".join(f"{_WHAT[spec.kind.name]} '{spec.target}'" for spec in changed)
        raise UnsupportedError(
            f"the model changes {listed} in place, and a later call would not see it; allowed: "
            "models that change nothing (for an input: work on x.clone())"
        )


_WHAT = {
    "BUFFER_MUTATION": "buffer",
    "PARAMETER_MUTATION": "parameter",
    "USER_INPUT_MUTATION": "input",
}
