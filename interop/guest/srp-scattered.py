"""Moves data between a disk and memory in many small pieces, and compares it.

    srp-scattered.py DISK PIECES     pieces of a page: ib_srp puts together what is no whole page
"""

import mmap
import os
import sys

PIECE = mmap.PAGESIZE


def scattered(pieces):
    """Views of memory of which no two are neighbours."""
    memory = mmap.mmap(-1, 2 * pieces * PIECE)
    # Each page gets its frame here, in this order: the frames of those that are used are no neighbours either.
    for at in range(0, len(memory), PIECE):
        memory[at] = 1
    return [memoryview(memory)[at : at + PIECE] for at in range(0, len(memory), 2 * PIECE)]


def main(path, pieces):
    disk = os.open(path, os.O_RDWR | os.O_DIRECT)
    whole = memoryview(mmap.mmap(-1, pieces * PIECE))
    for round_ in range(4):
        at = round_ * len(whole)
        data = os.urandom(len(whole))
        pages = scattered(pieces)
        for i, page in enumerate(pages):
            page[:] = data[i * PIECE : (i + 1) * PIECE]
        assert os.pwritev(disk, pages, at) == len(data), "short write"
        assert os.preadv(disk, [whole], at) == len(data), "short read"
        assert bytes(whole) == data, f"what was written from pieces differs, round {round_}"
        whole[:] = os.urandom(len(whole))
        assert os.pwritev(disk, [whole], at) == len(data), "short write"
        pages = scattered(pieces)
        assert os.preadv(disk, pages, at) == len(data), "short read"
        assert b"".join(pages) == bytes(whole), f"what was read into pieces differs, round {round_}"


main(sys.argv[1], int(sys.argv[2]))
