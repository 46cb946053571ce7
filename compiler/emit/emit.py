"""From a scheduled PrimFunc to a function of the program.

Each stage of the expression becomes the instructions of one unit; buffers get addresses, pairs
of units that share a buffer get two semaphores (free slots, filled slots), ragged ends get clips.
"""

from collections.abc import Callable
from functools import partial

from tvm import tirx

from ...target.arch import Arch
from ...target.errors import IsaError
from ...target.isa.instructions import Clip, End, EndLoop, Post, Sem, Wait
from ...target.isa.instructions import Loop as LoopInstruction
from ...target.isa.program import Function
from ...target.isa.spec import LOOP_DEPTH, Instruction, Unit
from ..operators import ATTRIBUTE, Quantize, from_attribute
from ..tiling.tile import TILE, from_text
from ..tir.schedule import RING
from .allocate import affine, allocate, common_path
from .gemm import RESULTS, lower_gemm
from .planes import PLANE
from .quantize import lower_quantize
from .state import Emitter, Op, ScheduledTree
from .tree import Linear, Loop, read_tree

ROW_AXIS = {"psum_update_o": 4, "bits": 0}
"""Stages whose tile says how many rows an operator streams, and along which axis."""


def emit(func: tirx.PrimFunc, arch: Arch, name: str, layer: str, weights: bytes) -> Function:
    """Return the function of a scheduled PrimFunc.

    Parameters
    ----------
    func : tirx.PrimFunc
        Scheduled and tensorized, with its operator as an attribute.
    weights : bytes
        Packed weight segment, empty for an operator without constant weights.

    Raises
    ------
    CapacityError
        When its buffers don't fit the memories of the architecture.
    """
    tile = from_text(str(func.attrs[TILE])) if TILE in func.attrs else None
    tree = ScheduledTree(from_attribute(str(func.attrs[ATTRIBUTE])), tile, *read_tree(func))
    return emit_tree(tree, arch, name, layer, weights)


def emit_tree(tree: ScheduledTree, arch: Arch, name: str, layer: str, weights: bytes) -> Function:
    """Return the function of a scheduled operator's tree; see `emit`. It may be used once."""
    operator, root = tree.operator, tree.root
    _name_loops(root)
    boxes = {stage.name: stage.extents for stage in _leaves(root)}
    emitter = Emitter(operator, arch, name, tree.shapes, boxes, _tile_rows(root), tree.tile)
    if isinstance(operator, Quantize):
        lowered = lower_quantize(emitter)
    else:
        lowered = lower_gemm(emitter, weights)
    _expand(root, lowered.stages)
    ops = list(_leaves(root))
    used = {b for op in ops for b in op.reads + op.writes}
    buffers = {key: buffer for key, buffer in lowered.buffers.items() if key in used}
    homes = {
        key: common_path([op.loops for op in ops if key in op.reads + op.writes]) for key in buffers
    }
    emitter.placed = allocate(buffers, homes, arch, _slots(emitter), f"{name} ({layer})")
    _add_tokens(emitter, root, homes)
    code, notes = _linearize(emitter, root)
    return Function(name, layer, lowered.arguments, code, weights, operator.macs, notes)


def _slots(emitter: Emitter) -> Callable[[str], int]:
    """Return how many slots a buffer gets that is refilled in a loop."""
    tile = emitter.tile

    def of(buffer: str) -> int:
        if tile is None or buffer == PLANE:
            return RING
        return tile.result_slots if buffer in RESULTS else tile.load_slots

    return of


AXES = {
    "psum_update_o": (
        "images",
        "conv groups",
        "groups of 128 inputs",
        "blocks of 128 columns",
        "tiles of rows",
        "array columns",
        "", "", "", "",
        "array rows",
    ),
    "bits": ("tiles of rows", "groups", "chunks", ""),
    "q": ("tiles of rows", "groups", "chunks", ""),
}  # fmt: skip
"""What the axes of a stage's tile start are, for listings."""


def _name_loops(root: Loop) -> None:
    """Name each loop by what it walks over."""
    for stage in _leaves(root):
        for axis, start in zip(AXES.get(stage.name, ()), stage.starts, strict=False):
            for loop, _ in start.terms:
                if axis and loop.name not in AXES["psum_update_o"]:
                    loop.name = axis


def _tile_rows(root: Loop) -> int:
    """Return the rows that one tile streams: those of the stage that every operator has."""
    for stage in _leaves(root):
        if stage.name in ROW_AXIS:
            return stage.extents[ROW_AXIS[stage.name]]
    raise IsaError("a scheduled operator has neither a matmul nor codes to store")


def _expand(loop: Loop, stages: dict[str, Callable]) -> None:
    """Replace every stage of the tree by its ops."""
    body: list = []
    for child in loop.body:
        if isinstance(child, Loop):
            _expand(child, stages)
            body.append(child)
            continue
        for node in stages[child.name](child):
            for op in _leaves(node):
                op.loops = child.loops + ((node,) if isinstance(node, Loop) else ())
            body.append(node)
    loop.body = body


def _leaves(node):
    if not isinstance(node, Loop):
        yield node
    else:
        for child in node.body:
            yield from _leaves(child)


def _add_tokens(emitter: Emitter, root: Loop, homes: dict[str, tuple[Loop, ...]]) -> None:
    """Insert waits and posts: a producer waits for a free slot, a consumer for a filled one."""
    plans: dict[Loop, tuple[dict, dict]] = {}
    for key, home in homes.items():
        body = (home[-1] if home else root).body
        writers: dict[Unit, list[int]] = {}
        readers: dict[Unit, list[int]] = {}
        for index, child in enumerate(body):
            for op in _leaves(child):
                if key in op.writes:
                    writers.setdefault(op.unit, []).append(index)
                if key in op.reads:
                    readers.setdefault(op.unit, []).append(index)
        before, after = plans.setdefault(home[-1] if home else root, ({}, {}))
        for producer, made in writers.items():
            for consumer, taken in readers.items():
                if producer is consumer:
                    continue
                if max(made) >= min(taken):
                    raise IsaError(f"{emitter.name}: {key} is read before it is complete")
                free = emitter.semaphore(emitter.placed[key].slots)
                full = emitter.semaphore(0)
                before.setdefault(min(made), []).append(_token(Wait, producer, free, f"{key} free"))
                after.setdefault(max(made), []).append(_token(Post, producer, full, f"{key} full"))
                before.setdefault(min(taken), []).append(
                    _token(Wait, consumer, full, f"{key} full")
                )
                after.setdefault(max(taken), []).append(
                    _token(partial(Post, after=1), consumer, free, f"{key} free")
                )
    for loop, (before, after) in plans.items():
        body = []
        for index, child in enumerate(loop.body):
            body += before.get(index, []) + [child] + after.get(index, [])
        loop.body = body


def _token(kind, unit: Unit, sem: int, note: str) -> Op:
    return Op(unit, (), (), lambda *_: kind(unit.value, sem), note=note)


def _linearize(emitter: Emitter, root: Loop) -> tuple[tuple[Instruction, ...], dict[int, str]]:
    """Return the instructions in order; clips stand where their start's last loop begins."""
    body: list[tuple] = []
    _flatten(emitter, root, (), body)
    clips: dict[Loop, list[Instruction]] = {}
    for (tile, limit, start), register in emitter.extents.items():
        path = _path_to(root, start)
        home = path[-1] if path else root
        clips.setdefault(home, []).append(Clip(register, tile, limit, affine(start, path)))
    # Semaphores start at 0: only those that count free slots need to be set.
    counts = enumerate(emitter.semaphores)
    code: list[Instruction] = [Sem(sem, count) for sem, count in counts if count]
    notes: dict[int, str] = {}
    code += clips.get(root, [])
    for instruction, note, loop in body:
        if note:
            notes[len(code)] = note
        code.append(instruction)
        if isinstance(instruction, LoopInstruction):
            code += clips.get(loop, [])
    code.append(End())
    return tuple(code), notes


def _flatten(emitter: Emitter, loop: Loop, path: tuple[Loop, ...], out: list) -> None:
    if len(path) > LOOP_DEPTH:
        raise IsaError(f"{emitter.name}: loops nest deeper than {LOOP_DEPTH}")
    for child in loop.body:
        if isinstance(child, Op):
            out.append((child.build(emitter, path), child.note, loop))
            continue
        out.append((LoopInstruction(child.extent), f"i{len(path)}: {child.name}", child))
        _flatten(emitter, child, (*path, child), out)
        out.append((EndLoop(), "", child))


def _path_to(root: Loop, start: Linear) -> tuple[Loop, ...]:
    """Return the loops from the root down to the innermost one of a linear value."""
    wanted = {loop for loop, _ in start.terms}

    def search(node, path):
        if wanted <= set(path):
            return path
        for child in node.body:
            if isinstance(child, Loop):
                found = search(child, (*path, child))
                if found is not None:
                    return found
        return None

    return search(root, ()) or ()
