import subprocess
import sys

import pytest

from ndcli import allocator


def test_keep_memory_takes_effect_on_glibc_only() -> None:
    code = "from ndcli.allocator import keep_memory; print(keep_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{sys.platform.startswith('linux') and allocator._glibc()}\n"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.skipif(not allocator._glibc(), reason="needs glibc")
@pytest.mark.parametrize("keep", [True, False])
def test_freed_memory_stays_only_when_kept(keep: bool) -> None:
    code = (
        "import ctypes\n"
        "from ndcli.allocator import keep_memory\n"
        f"assert not {keep} or keep_memory()\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]\n"
        "libc.free.argtypes = [ctypes.c_void_p]\n"
        "def resident(): return int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        "before = resident()\n"
        "block = libc.malloc(1 << 27)\n"
        "ctypes.memset(block, 1, 1 << 27)\n"
        "libc.free(block)\n"
        "print(resident() - before > 1 << 26)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{keep}\n"


def test_other_platforms_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert allocator.keep_memory() is False


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def confstr(name: str) -> str:
        raise ValueError(f"unrecognized configuration name {name}")

    monkeypatch.setattr("os.confstr", confstr)
    assert allocator.keep_memory() is False


def test_a_c_library_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert allocator.keep_memory() is False
