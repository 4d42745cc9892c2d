"""Install a prebuilt llama.cpp into this Python environment (sys.prefix/lib/llama.cpp), for running GGUF files.

    python scripts/llama_runtime.py [--force]

The libraries come from the npm package below (10 MB; MIT), whose build holds kernels for every x86-64 processor; its
integrity is pinned. Without npm, or on another machine, llama-cpp-python is built where a compiler and cmake are.
Without those this says what is lost, and exits with 0: llama.cpp is an optional runtime.
"""

from __future__ import annotations

import base64
import hashlib
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@node-llama-cpp/linux-x64@3.22.1"
INTEGRITY = "sha512-5uCCDNqWCNfaAm8aR/Uzxbo4HBpKgNF91kCHPepKhgMgV2OAmatoefbOlMihsqCiH2Od35E/eUHQCFbfRBJuOg=="
"""As the registry states it for this version."""
INSIDE = "package/bins/linux-x64/"
SOURCE = "llama-cpp-python==0.3.36"
PLACE = Path(sys.prefix) / "lib" / "llama.cpp"
LOADS = "from bessemer.runners.llama.library import Library; print(Library().runtime)"


def main() -> None:
    """Install unless one is there already."""
    if "--force" not in sys.argv and (held := _loads()):
        print(f"{held} is here already")
        return
    reasons: list[str] = []
    for way in (_prebuilt, _built):
        reason = way()
        if not reason and (held := _loads()):
            print(f"{held} is installed")
            return
        reasons.append(reason or "the installed library does not load")
    print(
        f"llama.cpp is not installed ({'; '.join(reasons)}). Everything else works without it: rows of the report whose "
        "artifact runs in llama.cpp will be `emulated` (its weights decoded and run through Bessemer's own reference), and "
        "tests that need it are skipped. Install npm and run this again, or set BESSEMER_LLAMA_CPP to the folder of a "
        "libllama that you built."
    )


def _loads() -> str:
    """What loads, in a process of its own; '' for nothing."""
    done = subprocess.run([sys.executable, "-c", LOADS], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _prebuilt() -> str:
    """Unpack npm's build; why not, or ''."""
    if platform.system() != "Linux" or platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc":
        return "there is no prebuilt library for this machine"
    npm = shutil.which("npm")
    if npm is None:
        return "npm is missing"
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", PACKAGE, "--silent", "--ignore-scripts", "--pack-destination", folder]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        found = sorted(Path(folder).glob("*.tgz"))
        if done.returncode or len(found) != 1:
            said = (done.stderr or done.stdout).strip().splitlines()
            return f"npm could not fetch {PACKAGE}{': ' + said[-1] if said else ''}"
        if _integrity(found[0]) != INTEGRITY:
            return f"the archive of {PACKAGE} is not the known one, and was not unpacked"
        _unpack(found[0])
    return ""


def _integrity(path: Path) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def _unpack(archive: Path) -> None:
    """The shared libraries and their license, all or nothing."""
    PLACE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PLACE.parent) as folder, tarfile.open(archive) as packed:
        fresh = Path(folder) / PLACE.name
        fresh.mkdir()
        for member in packed:
            wanted = member.name.startswith(INSIDE) and member.name.endswith(".so")
            if member.isfile() and (wanted or member.name == "package/LICENSE"):
                held = packed.extractfile(member)
                assert held is not None
                (fresh / Path(member.name).name).write_bytes(held.read())
        shutil.rmtree(PLACE, ignore_errors=True)
        fresh.rename(PLACE)


def _built() -> str:
    """Build llama-cpp-python; why not, or ''."""
    if not (
        shutil.which("cmake") and (shutil.which("c++") or shutil.which("g++") or shutil.which("clang++"))
    ):
        return "a build from source needs cmake and a C++ compiler"
    print(f"Building {SOURCE} (some minutes) ...", flush=True)
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", SOURCE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stderr.strip().splitlines()
    return f"pip could not build {SOURCE}{': ' + said[-1] if said else ''}" if done.returncode else ""


if __name__ == "__main__":
    main()
