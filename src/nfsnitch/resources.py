"""Where the files are that are not Python: nft rulesets, the eBPF object, the rules' schema."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_INSTALLED = _PACKAGE / "data"
_REPOSITORY = _PACKAGE.parent.parent


def nft_file(name: str) -> Path:
    """Return a file of nft/.

    Raises:
        FileNotFoundError: the installation is incomplete.

    """
    return _first_file(_INSTALLED / "nft" / name, _REPOSITORY / "nft" / name)


def bpf_object() -> Path:
    """Return the compiled eBPF object.

    Raises:
        FileNotFoundError: it has not been built.

    """
    name = "nfsnitch.bpf.o"
    return _first_file(_INSTALLED / "bpf" / name, _REPOSITORY / "bpf" / "build" / name)


def readers_object() -> Path:
    """Return the compiled eBPF object of what lists the maps.

    Raises:
        FileNotFoundError: it has not been built.

    """
    name = "readers.bpf.o"
    return _first_file(_INSTALLED / "bpf" / name, _REPOSITORY / "bpf" / "build" / name)


def bpf_sources() -> Path:
    """Return the folder with the sources of the eBPF programs, which bcc compiles.

    Raises:
        FileNotFoundError: the installation is incomplete.

    """
    name = "nfsnitch.bpf.c"
    return _first_file(_INSTALLED / "bpf" / name, _REPOSITORY / "bpf" / name).parent


def rules_schema() -> Path:
    """Return the JSON Schema of rule files, as ``nfsnitch schema`` prints it.

    Raises:
        FileNotFoundError: the installation is incomplete.

    """
    return _first_file(_PACKAGE / "rules.schema.json")


def _first_file(*candidates: Path) -> Path:
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    places = " or ".join(str(candidate) for candidate in candidates)
    raise FileNotFoundError(f"{candidates[0].name} is missing: neither {places}; run make setup")
