"""What a model's folder must hold: SHA256SUMS lists all of its files, and a signature says whose list that is.

The list is what `sha256sum` writes, so that `sha256sum -c SHA256SUMS` looks at it too.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from worker.errors import ConfigError

SUMS = "SHA256SUMS"
SIGNATURE = f"{SUMS}.sig"
# What `train` leaves for TensorBoard there is no part of the model: nothing opens it, and it need not be shipped.
_BESIDE = "logs"
POINTER = b"version https://git-lfs"
IS_POINTER = "is a Git LFS pointer, not the file; `git lfs pull` brings it"
# What `torch.save` and `pickle` write; opening one may run whatever is in it.
PICKLES = frozenset({".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill"})
# Of a folder without a list.
UNLISTED = f"there is no {SUMS} in the directory, so a file that was changed or cut short is not noticed"
_MOST_BYTES = 1 << 20  # of a list: some 8,000 files
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")
_PEM = re.compile(b"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)

# Name in the folder -> what `lstat` tells of it; "" is the folder itself.
Found = Mapping[str, os.stat_result]


@dataclass(frozen=True, slots=True)
class Sums:
    """What a folder was held against.

    Attributes:
        digest: the SHA-256 of the list, which stands for every byte of the folder.
        signed: whether a trusted key has signed the list.
    """

    digest: str
    signed: bool

    def __str__(self) -> str:
        return f"{SUMS} {self.digest[:12]}{', signed' if self.signed else ''}"


@contextmanager
def verified(folder: Path, trusted_key: str | None = None) -> Iterator[Sums | None]:
    """As `verify`, and when what is done inside has read the files, that none was changed meanwhile.

    Raises:
        ConfigError: as `verify`, or a file, or the folder, was changed or replaced.
    """
    before = _found(folder)
    sums = verify(folder, trusted_key)
    yield sums
    if sums is not None and (other := _first_other(before, _found(folder))) is not None:
        raise _refused(folder, other, "was changed while the model was loaded; load it again")


def verify(folder: Path, trusted_key: str | None = None) -> Sums | None:
    """Reads every file once and compares it with the list; None of a folder without one.

    Args:
        trusted_key: path of ed25519 public keys (PEM), one of which must have signed the list; None: any list will do.

    Raises:
        ConfigError: a file differs, is missing, is not listed, is a pickle or no plain file; the list cannot be read;
            with `trusted_key` there is no list, or no signature of that very list by the key.
    """
    found = _found(folder)
    if pickled := [name for name in sorted(found) if PurePosixPath(name).suffix.lower() in PICKLES]:
        raise _refused(folder, pickled[0], "is a pickle, which may run code when it is opened; a model is made of "
                       "safetensors or ONNX, and JSON; take it out")  # fmt: skip
    if SUMS not in found:
        if trusted_key is not None:
            raise _refused(folder, SUMS, "is not there; model.trusted_key asks for a list that is signed")
        return None
    _ensure_plain(folder, found)
    listed = _bytes(folder, SUMS, found)
    if trusted_key is not None:
        _ensure_signed(folder, found, listed, trusted_key)
    _compare(folder, found, _parsed(folder, listed))
    return Sums(hashlib.sha256(listed).hexdigest(), trusted_key is not None)


def write_sums(folder: Path) -> bool:
    """Writes the list of all files of the folder, in the order of their names.

    Returns:
        Whether it took a signature away, which is none of this list.

    Raises:
        ConfigError: one is no plain file, or its name does not fit into a line.
    """
    new = folder / f".{SUMS}.new"
    new.unlink(missing_ok=True)
    found = _found(folder)
    _ensure_plain(folder, found)
    names = sorted(name for name in found if stat.S_ISREG(found[name].st_mode) and name not in (SUMS, SIGNATURE))
    if odd := [name for name in names if not name.isprintable() or "\\" in name]:
        raise _refused(folder, odd[0], f"its name does not fit into {SUMS}; give it another")
    lines = "".join(f"{_sha256(folder, name)}  {name}\n" for name in names)
    new.write_text(lines, "utf-8")
    (folder / SIGNATURE).unlink(missing_ok=True)
    new.replace(folder / SUMS)
    return SIGNATURE in found


def _found(folder: Path) -> Found:
    """Everything in the folder but `logs`; links are told, not followed. Nothing of a folder that is not there."""
    try:
        found = {"": os.lstat(folder), ".": os.stat(folder)}
        for at, folders, files in os.walk(folder, onerror=_raise):
            folders[:] = [name for name in folders if name != _BESIDE or Path(at) != folder]
            for name in (*folders, *files):
                path = Path(at, name)
                found[path.relative_to(folder).as_posix()] = path.lstat()
    except FileNotFoundError:
        return {}
    except OSError as error:
        name = Path(error.filename or folder).name
        raise _refused(folder, name, f"cannot be read: {error.strerror}") from error
    return found


def _raise(error: OSError) -> None:
    raise error


def _first_other(before: Found, after: Found) -> str | None:
    """The first name that is new, gone, replaced or changed: each of these changes a `ctime`, which nobody can set.

    Inodes are not compared: some network file systems number them anew.
    """

    def told(one: os.stat_result | None) -> tuple[int, ...]:
        return () if one is None else (one.st_mode, one.st_size, one.st_mtime_ns, one.st_ctime_ns)

    names = sorted({*before, *after}, key=lambda name: (name in ("", "."), name))
    return next((name for name in names if told(before.get(name)) != told(after.get(name))), None)


def _ensure_plain(folder: Path, found: Found) -> None:
    for name, one in sorted(found.items()):
        if name and stat.S_ISLNK(one.st_mode):
            raise _refused(folder, name, "is a symbolic link; a model's files lie in its folder")
        if name and not stat.S_ISREG(one.st_mode) and not stat.S_ISDIR(one.st_mode):
            raise _refused(folder, name, "is no plain file")


def _bytes(folder: Path, name: str, found: Found) -> bytes:
    if found[name].st_size > _MOST_BYTES:
        raise _refused(folder, name, f"has {found[name].st_size} bytes, more than {_MOST_BYTES}")
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise _refused(folder, name, f"cannot be read: {error.strerror}") from error


def _parsed(folder: Path, listed: bytes) -> dict[str, str]:
    """Name -> SHA-256, of a list."""
    try:
        lines = listed.decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise _refused(folder, SUMS, f"is not UTF-8 (byte {error.start})") from error
    sums: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if (fits := _LINE.fullmatch(line)) is None:
            raise _refused(folder, SUMS, f"line {number} is none of `sha256sum`: 64 hexadecimal digits, two spaces and "
                           "a name")  # fmt: skip
        name = PurePosixPath(fits[2])
        if name.is_absolute() or ".." in name.parts:
            raise _refused(folder, SUMS, f"line {number} leads out of the folder: {_shown(fits[2])}")
        if str(name) in sums:
            raise _refused(folder, SUMS, f"line {number} lists {_shown(str(name))} again")
        sums[str(name)] = fits[1].lower()
    return sums


def _compare(folder: Path, found: Found, sums: Mapping[str, str]) -> None:
    """First what takes no reading."""
    files = {name for name, one in found.items() if stat.S_ISREG(one.st_mode)} - {SUMS, SIGNATURE}
    if missing := sorted(sums.keys() - files):
        raise _refused(folder, missing[0], f"is listed in {SUMS} and not there; {_REMEDY}")
    if more := sorted(files - sums.keys()):
        raise _refused(folder, more[0], f"is not listed in {SUMS}; {_REMEDY}")
    for name in sorted(sums):
        if (is_now := _sha256(folder, name)) != sums[name]:
            if _begins(folder, name) == POINTER:
                raise _refused(folder, name, IS_POINTER)
            told = f"its SHA-256 is {is_now[:12]}..., {SUMS} lists {sums[name][:12]}..."
            raise _refused(folder, name, f"differs: {told}; {_REMEDY}")


_REMEDY = "fetch the model anew, or where that was meant make the list anew (docs/security.md)"


def _sha256(folder: Path, name: str) -> str:
    try:
        with (folder / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _refused(folder, name, f"cannot be read: {error.strerror}") from error


def _begins(folder: Path, name: str) -> bytes:
    with (folder / name).open("rb") as file:
        return file.read(len(POINTER))


def _ensure_signed(folder: Path, found: Found, listed: bytes, trusted_key: str) -> None:
    try:
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise ConfigError('model.trusted_key: needs cryptography; pip install "fusion-worker[signed]"') from error
    try:
        keys = [load_pem_public_key(one) for one in _PEM.findall(Path(trusted_key).read_bytes())]
    except OSError as error:
        raise ConfigError(f"model.trusted_key = {trusted_key!r}: cannot be read: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"model.trusted_key = {trusted_key!r}: {_NO_KEY}") from error
    own = [key for key in keys if isinstance(key, Ed25519PublicKey)]
    if not own or len(own) < len(keys):
        raise ConfigError(f"model.trusted_key = {trusted_key!r}: {_NO_KEY}")
    if SIGNATURE not in found:
        raise _refused(folder, SIGNATURE, f"is not there; model.trusted_key asks for a {SUMS} that is signed")
    signature = _bytes(folder, SIGNATURE, found)
    for key in own:
        try:
            key.verify(signature, listed)
        except InvalidSignature:
            continue
        return
    raise _refused(folder, SIGNATURE, f"is none of this {SUMS} by a key of model.trusted_key = {trusted_key!r}")


_NO_KEY = "must hold ed25519 public keys alone, in PEM, such as `openssl pkey -in key.pem -pubout` writes"


def _shown(name: str) -> str:
    return name if name.isprintable() else repr(name)


def _refused(folder: Path, name: str, why: str) -> ConfigError:
    told = "the folder" if name in ("", ".") else _shown(name)
    return ConfigError(f"model.path = {str(folder)!r}: {told}: {why}")
