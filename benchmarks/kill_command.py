"""``ndengine`` with small segments, so that a short run writes several of them; what is in them stays the same.

``python -m benchmarks.kill_command run …`` takes the words of ``ndengine``.
"""

from __future__ import annotations

from ndcli.main import main
from ndcli.process import tune_process

SEGMENT_BYTES = 1 << 16
SEGMENT_SECONDS = 0.2  # after which the spool ``auto`` writes: a run here is a hundred times shorter than a user's
LEAST_COMPACTION_BYTES = 1 << 19


def make_segments_small() -> None:
    """Set the sizes for this process."""
    import ndengine.spool as spool

    for name in ("SEGMENT_BYTES", "SEGMENT_SECONDS", "LEAST_COMPACTION_BYTES"):
        assert hasattr(spool, name), f"{spool} has no {name}"
        setattr(spool, name, globals()[name])


if __name__ == "__main__":
    tune_process()  # before torch is loaded, as the command does
    make_segments_small()
    main(prog_name="ndengine")
