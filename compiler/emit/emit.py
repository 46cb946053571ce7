"""From the tree of a scheduled operator to a function of the program.

Each stage of the expression becomes the instructions of one unit; buffers get addresses, pairs
of units that share a buffer get two semaphores (free slots, filled slots), ragged ends get clips.
"""

from collections.abc import Callable
from functools import partial

from ...target.arch import Arch
from ...target.errors import IsaError
from ...target.isa.instructions import Clip, End, EndLoop, Loop, Post, Sem, Wait
from ...target.isa.program import Buffer, Function, size_of
from ...target.isa.spec import LOOP_DEPTH, Instruction, Unit
from ..tiling.nest import Nest
from .allocate import Placed, affine, allocate, common_path
from .planes import PLANE
from .sizes import with_sizes
from .state import Emitter, Lowered, Op, Room, ScheduledTree
from .tree import Linear, LoopNode

Lower = Callable[[Emitter, bytes], Lowered]


def emit_tree(
    tree: ScheduledTree,
    lower: Lower,
    arch: Arch,
    name: str,
    layer: str,
    weights: bytes,
    room: Room | None = None,
) -> Function:
    """Return the function of a scheduled operator's tree, which may be used once.

    Parameters
    ----------
    lower : callable
        Gives the arguments, buffers and stages of the operator's kind.
    weights : bytes
        Packed weight segment, empty for an operator without constant weights.
    room : Room, optional
        Where its buffers lie; from the start of each memory on, and none of others, if not given.

    Raises
    ------
    CapacityError
        When its buffers don't fit the memories of the architecture.
    """
    root = tree.root
    _name_loops(tree.nest, root)
    room = room or Room()
    emitter = Emitter(tree.operator, arch, name, tree.nest, tree.tile)
    lowered = lower(emitter, weights)
    kept = _kept(lowered, room)
    dropped = {name for name, argument in kept.items() if argument not in room.stored}
    _expand(root, lowered.stages, dropped)
    ops = list(_leaves(root))
    used = {b for op in ops for b in op.reads + op.writes}
    buffers = [buffer for buffer in lowered.buffers if buffer.name in used]
    homes = {
        b.name: common_path([op.loops for op in ops if b.name in op.reads + op.writes])
        for b in buffers
    }
    what = f"{name} ({layer})"
    own = [buffer for buffer in buffers if buffer.name not in kept]
    emitter.placed = allocate(own, homes, arch, _slots(emitter), what, room.origin)
    for buffer in buffers:
        if buffer.name in kept:
            argument = kept[buffer.name]
            whole = buffer._replace(pitch=lowered.whole[argument][buffer.name])
            emitter.placed[buffer.name] = Placed(whole, (), 1, room.kept[argument])
    emitter.kept = frozenset(kept)
    _add_tokens(emitter, root, homes)
    code, notes = _linearize(emitter, root)
    macs = int(tree.operator.macs)
    argument_of = {name: n for n, names in lowered.whole.items() for name in names}
    plan = tuple(
        _plan(emitter.placed[name], ops, argument_of.get(name), kept, lowered)
        for name in emitter.placed
    )
    return with_sizes(
        Function(name, layer, lowered.arguments, code, weights, macs, notes, buffers=plan)
    )


def _kept(lowered: Lowered, room: Room) -> dict[str, int]:
    """Return the buffers that are tiles of what lies on the chip as a whole, and its argument."""
    return {name: argument for argument in room.kept for name in lowered.whole[argument]}


def _plan(
    placed: Placed, ops: list[Op], argument: int | None, kept: dict[str, int], lowered: Lowered
) -> Buffer:
    """Return where a buffer lies and who uses it; a weight plane has no bytes."""
    name, mem, *_ = placed.buffer
    writers = frozenset(op.unit for op in ops if name in op.writes)
    readers = frozenset(op.unit for op in ops if name in op.reads)
    size = placed.slots * placed.buffer.slot_bytes
    if argument is not None and name in kept:
        size = size_of(lowered.arguments[argument])
    return Buffer(name, mem, placed.base, size, writers, readers, argument, name in kept)


def _slots(emitter: Emitter) -> Callable[[str], int]:
    """Return how many slots a buffer gets that is refilled in a loop."""
    tile = emitter.tile
    slots = {
        row.name: 1 if row.alone else tile.result_slots if row.result else tile.load_slots
        for row in emitter.nest.buffers
    }
    return lambda buffer: slots.get(buffer, emitter.arch.weight_planes)


def _name_loops(nest: Nest, root: LoopNode) -> None:
    """Name each loop by what it walks over."""
    named: set[LoopNode] = set()
    for stage in _leaves(root):
        for axis, start in zip(stage.axes, stage.starts, strict=True):
            for loop, _ in start.terms:
                if nest.axes[axis].label and loop not in named:
                    loop.name = nest.axes[axis].label
                    named.add(loop)


def _expand(loop: LoopNode, stages: dict[str, Callable], dropped: set[str]) -> None:
    """Replace every stage of the tree by its ops, without transfers of some buffers."""
    body: list = []
    for child in loop.body:
        if isinstance(child, LoopNode):
            _expand(child, stages, dropped)
            body.append(child)
            continue
        for node in stages[child.name](child):
            if isinstance(node, Op) and _moves(node, dropped):
                continue
            for op in _leaves(node):
                op.loops = child.loops + ((node,) if isinstance(node, LoopNode) else ())
            body.append(node)
    loop.body = body


def _moves(op: Op, buffers: set[str]) -> bool:
    """Tell whether an op is a transfer to or from some buffers."""
    moved = {Unit.DMA_IN: op.writes, Unit.DMA_OUT: op.reads}.get(op.unit, ())
    return any(name in buffers for name in moved)


def _leaves(node):
    if not isinstance(node, LoopNode):
        yield node
    else:
        for child in node.body:
            yield from _leaves(child)


def _add_tokens(emitter: Emitter, root: LoopNode, homes: dict[str, tuple[LoopNode, ...]]) -> None:
    """Insert waits and posts: a producer waits for a free slot, a consumer for a filled one.

    What lies on the chip as a whole has a place for each tile, which is always free.
    """
    plans: dict[LoopNode, tuple[dict, dict]] = {}
    nests = {
        buffer.name: at for at, nest in enumerate(emitter.nest.parts) for buffer in nest.buffers
    }
    for key, home in homes.items():
        if key == PLANE and emitter.arch.row_release:
            continue  # The array itself keeps loads and products of a plane in order.
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
                if key in emitter.kept:
                    free, full = None, emitter.semaphore(0)
                else:
                    slots = emitter.placed[key].slots
                    free, full = emitter.pair(producer, consumer, slots, nests.get(key, 0))
                after.setdefault(max(made), []).append(_token(Post, producer, full, f"{key} full"))
                before.setdefault(min(taken), []).append(
                    _token(Wait, consumer, full, f"{key} full")
                )
                if free is None:
                    continue
                before.setdefault(min(made), []).append(_token(Wait, producer, free, f"{key} free"))
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


def _linearize(emitter: Emitter, root: LoopNode) -> tuple[tuple[Instruction, ...], dict[int, str]]:
    """Return the instructions in order; clips stand where their start's last loop begins."""
    body: list[tuple] = []
    _flatten(emitter, root, (), body)
    clips: dict[LoopNode, list[Instruction]] = {}
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
        if isinstance(instruction, Loop):
            code += clips.get(loop, [])
    code.append(End())
    return tuple(code), notes


def _flatten(emitter: Emitter, loop: LoopNode, path: tuple[LoopNode, ...], out: list) -> None:
    if len(path) > LOOP_DEPTH:
        raise IsaError(f"{emitter.name}: loops nest deeper than {LOOP_DEPTH}")
    for child in loop.body:
        if isinstance(child, Op):
            out.append((child.build(emitter, path), child.note, loop))
            continue
        out.append((Loop(child.extent), f"i{len(path)}: {child.name}", child))
        _flatten(emitter, child, (*path, child), out)
        out.append((EndLoop(), "", child))


def _path_to(root: LoopNode, start: Linear) -> tuple[LoopNode, ...]:
    """Return the loops from the root down to the innermost one of a linear value."""
    wanted = {loop for loop, _ in start.terms}

    def search(node, path):
        if wanted <= set(path):
            return path
        for child in node.body:
            if isinstance(child, LoopNode):
                found = search(child, (*path, child))
                if found is not None:
                    return found
        return None

    return search(root, ()) or ()
