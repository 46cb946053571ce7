"""Bytes, words and slots of a packed segment as TIR expressions."""


def byte_at(segment, index):
    return segment[index].astype("int32")


def signed_at(segment, index):
    return (segment[index].astype("int32") ^ 128) - 128


def half_at(segment, index):
    return (segment[index].astype("uint16")) | (segment[index + 1].astype("uint16") << 8)


def word_at(segment, index):
    return (
        byte_at(segment, index)
        | (byte_at(segment, index + 1) << 8)
        | (byte_at(segment, index + 2) << 16)
        | (byte_at(segment, index + 3) << 24)
    )


def straddling(segment, start, k, j, columns, bits, mask):
    """Return slot j of row k, of any width: bits of the byte behind it may be part of it."""
    if 8 % bits == 0:
        return slot_at(segment, start, k, j, columns, bits, mask)
    position = start + k * ((columns + 7) // 8 * bits) + j * bits // 8
    # Scales lie behind the slots, so that there's always another byte.
    both = byte_at(segment, position) | (byte_at(segment, position + 1) << 8)
    return (both >> (j * bits % 8)) & mask


def slot_at(segment, start, k, j, columns, bits, mask):
    """Return slot j of row k, of a width whose slots don't straddle bytes."""
    position = k * ((columns + 7) // 8 * bits) + j * bits // 8
    return (byte_at(segment, start + position) >> (j * bits % 8)) & mask
