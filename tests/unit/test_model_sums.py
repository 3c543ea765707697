"""A model's folder is served when each of its bytes is as its list says, and the list is whose it should be."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.signing import key_of, sign
from tests.tiny import knowledge_of, write_tiny_model
from worker.errors import ConfigError
from worker.model.folder import SHIPPED, ensure_servable, folder_of
from worker.model.load import config_of, digest
from worker.model.runtime import ModelRuntime
from worker.model.served import serve
from worker.model.sums import PICKLES, SIGNATURE, SUMS, Sums, verified, verify, write_sums

Spoil = Callable[[Path], object]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as `train` leaves it, with a form of its own in a folder inside."""
    folder = write_tiny_model(tmp_path_factory.mktemp("whole") / "model")
    (folder / "int8").mkdir()
    (folder / "int8" / "README.md").write_text("a card")
    (folder / "logs").mkdir()
    (folder / "logs" / "events").write_text("curves")
    write_sums(folder)
    return folder


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def refused(model: Path, trusted_key: Path | None = None) -> str:
    """What is said, in one line that names the folder; the worker's start says the same."""
    key = str(trusted_key) if trusted_key is not None else None
    with pytest.raises(ConfigError) as caught:
        verify(model, key)
    said = str(caught.value)
    with pytest.raises(ConfigError) as started:
        ensure_servable(str(model), key)
    assert str(started.value) == said
    assert "\n" not in said
    assert caught.value.exit_code == 2
    return said.removeprefix(f"model.path = {str(model)!r}: ")


def test_the_list_is_sha256sum_s(whole: Path) -> None:
    """The tool takes it and makes the same; what was verified is told by the list's own digest."""
    subprocess.run(["sha256sum", "--strict", "--quiet", "-c", SUMS], cwd=whole, check=True)
    paths = [path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.name != SUMS]
    files = sorted(str(path) for path in paths if path.parts[0] != "logs")
    made = subprocess.run(["sha256sum", *files], cwd=whole, check=True, capture_output=True).stdout
    assert (whole / SUMS).read_bytes() == made
    own = subprocess.run(["sha256sum", SUMS], cwd=whole, check=True, capture_output=True, text=True).stdout
    assert verify(whole) == Sums(own.split()[0], signed=False)


def test_a_flipped_bit_in_any_file_is_told(model: Path) -> None:
    """Each in turn, by its name with what it is and what it was to be."""
    names = [line.split("  ")[1] for line in (model / SUMS).read_text().splitlines()]
    assert {"config.json", "model.safetensors", "tokenizer.json", "int8/README.md"} <= set(names)
    for name in names:
        was = (model / name).read_bytes()
        (model / name).write_bytes(was[:-1] + bytes([was[-1] ^ 1]))
        assert refused(model).startswith(f"{name}: differs: its SHA-256 is ")
        (model / name).write_bytes(was)
    assert verify(model) is not None


def test_a_flipped_digit_of_the_list_is_told(model: Path) -> None:
    """Of each line."""
    was = (model / SUMS).read_text()
    for number, line in enumerate(was.splitlines(keepends=True)):
        (model / SUMS).write_text(was.replace(line, f"{'0' if line[0] != '0' else '1'}{line[1:]}"))
        assert refused(model).startswith(f"{line.split()[1]}: differs"), number


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda m: (m / "config.json").unlink(), "config.json: is listed in SHA256SUMS and not there; fetch"),
        (lambda m: (m / "more.json").write_text("{}"), "more.json: is not listed in SHA256SUMS; fetch"),
        (lambda m: (m / "int8" / "more").write_text("{}"), "int8/more: is not listed"),
        (lambda m: (m / "a\nb\x1b").write_text("{}"), "'a\\nb\\x1b': is not listed"),
        (lambda m: (m / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid"),
         "model.safetensors: is a Git LFS pointer, not the file; `git lfs pull`"),
        (lambda m: os.mkfifo(m / "pipe"), "pipe: is no plain file"),
        (lambda m: (m / "link").symlink_to(m / "config.json"), "link: is a symbolic link; a model's files lie"),
        (lambda m: (m / "away").symlink_to(m.parent), "away: is a symbolic link"),
        (lambda m: (shutil.move(m / SUMS, m.parent / "list"), (m / SUMS).symlink_to(m.parent / "list")),
         "SHA256SUMS: is a symbolic link"),
        (lambda m: (m / SUMS).write_bytes(b"\xff"), "SHA256SUMS: is not UTF-8 (byte 0)"),
        (lambda m: (m / SUMS).write_text(""), "SHA256SUMS: line 1 is none of `sha256sum`"),
        (lambda m: (m / SUMS).write_text("ab  config.json\n"), "SHA256SUMS: line 1 is none of `sha256sum`"),
        (lambda m: (m / SUMS).write_text(f"{(m / SUMS).read_text()}\n"), "is none of `sha256sum`: 64 hexadecimal"),
        (lambda m: listing(m, "../model/config.json"), "line 1 leads out of the folder: ../model/config.json"),
        (lambda m: listing(m, "int8/../config.json"), "line 1 leads out of the folder: int8/../config.json"),
        (lambda m: listing(m, "/etc/passwd"), "SHA256SUMS: line 1 leads out of the folder: /etc/passwd"),
        (lambda m: listing(m, "int8"), "int8: is listed in SHA256SUMS and not there"),
        (lambda m: listing(m, SUMS), "SHA256SUMS: is listed in SHA256SUMS and not there"),
        (lambda m: listing(m, "./config.json"), "lists config.json again"),
        (lambda m: (m / SUMS).write_bytes(b"\n" * (1 << 20) + b"\n"), "SHA256SUMS: has 1048577 bytes, more than"),
    ],
)  # fmt: skip
def test_what_is_not_as_listed_is_told(model: Path, spoil: Spoil, said: str) -> None:
    """In one line with the file's name; nothing outside the folder is read."""
    spoil(model)
    assert said in refused(model)


def listing(model: Path, name: str) -> None:
    """A line more, at the front."""
    (model / SUMS).write_text(f"{'0' * 64}  {name}\n{(model / SUMS).read_text()}")


@pytest.mark.parametrize("suffix", sorted(PICKLES))
def test_a_pickle_is_refused_though_it_is_listed(model: Path, suffix: str) -> None:
    """Also in a folder without a list, and in capitals."""
    (model / "int8" / f"weights{suffix.upper()}").write_bytes(b"\x80\x04N.")
    write_sums(model)
    assert refused(model).startswith(f"int8/weights{suffix.upper()}: is a pickle, which may run code when it is opened")
    (model / SUMS).unlink()
    assert "is a pickle" in refused(model)


def test_curves_need_not_be_shipped(model: Path) -> None:
    """What `train` leaves in logs/ is not looked at; a folder of that name elsewhere is."""
    shutil.rmtree(model / "logs")
    assert verify(model) is not None
    (model / "int8" / "logs").mkdir()
    (model / "int8" / "logs" / "more").write_text("curves")
    assert refused(model).startswith("int8/logs/more: is not listed")


def test_without_a_list_it_is_served_as_it_lies_there(model: Path) -> None:
    """With a trusted key it is not."""
    (model / SUMS).unlink()
    assert verify(model) is None
    _, public = key_of(model.parent, "own")
    assert refused(model, public) == "SHA256SUMS: is not there; model.trusted_key asks for a list that is signed"
    assert refused(model.parent / "none", public).endswith("asks for a list that is signed")


def test_a_signature_is_looked_at(model: Path) -> None:
    """By the key, of this very list; by one of several keys; files are looked at behind it all the same."""
    folder = model.parent
    (private, public), (other, others) = key_of(folder, "own"), key_of(folder, "other")
    assert refused(model, public).startswith("SHA256SUMS.sig: is not there; model.trusted_key asks for a SHA256SUMS")
    sign(model, private)
    assert verify(model, str(public)) == Sums(verify(model).digest, signed=True)  # type: ignore[union-attr]
    assert "SHA256SUMS.sig: is none of this SHA256SUMS by a key of model.trusted_key" in refused(model, others)
    (both := folder / "both.pub").write_text(others.read_text() + public.read_text())
    assert verify(model, str(both)) is not None
    (model / "config.json").write_text("{}")
    assert refused(model, public).startswith("config.json: differs")
    kept = (model / SIGNATURE).read_bytes()
    assert write_sums(model), "a signature of another list is taken away"
    assert not (model / SIGNATURE).exists()
    for signature in (kept, kept[:-1], b"", b"\0" * 64):
        (model / SIGNATURE).write_bytes(signature)
        assert "is none of this SHA256SUMS" in refused(model, public)
    sign(model, other)
    assert "is none of this SHA256SUMS" in refused(model, public)


def test_a_key_that_is_none_is_told(model: Path) -> None:
    """Missing, private, of another kind, no PEM."""
    folder = model.parent
    private, public = key_of(folder, "own")
    sign(model, private)
    _, rsa = key_of(folder, "rsa", "rsa")
    (folder / "text").write_text("-----BEGIN PUBLIC KEY-----\nno\n-----END PUBLIC KEY-----\n")
    (folder / "mixed").write_text(public.read_text() + rsa.read_text())
    for path in (private, rsa, folder / "text", folder / "mixed"):
        with pytest.raises(ConfigError) as caught:
            verify(model, str(path))
        assert str(caught.value).startswith(f"model.trusted_key = {str(path)!r}: must hold ed25519 public keys alone")
    with pytest.raises(ConfigError, match=r"model.trusted_key = '.*nowhere': cannot be read: No such file"):
        verify(model, str(folder / "nowhere"))


def test_the_list_is_looked_at_when_the_model_is_loaded(model: Path) -> None:
    """Before a file is opened as a model, and told of the model afterwards."""

    def load(trusted_key: str | None = None) -> ModelRuntime:
        return ModelRuntime(
            path=str(model), device="cpu", precision="auto", anchor="texts", trusted_key=trusted_key,
            modalities={"texts": "text", "frames": "image"},
        )  # fmt: skip

    private, public = key_of(model.parent, "own")
    sign(model, private)
    assert load(str(public)).sums == verify(model, str(public))
    (model / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ConfigError, match=r"model.safetensors: differs"):
        load()
    (model / SUMS).unlink()
    with pytest.raises(ConfigError, match=r"model.safetensors: it has 10 bytes, its header"):
        load()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda m: (m / "config.json").write_bytes((m / "config.json").read_bytes()), "config.json"),
        (lambda m: (shutil.copy2(m / "config.json", m / "new"), os.replace(m / "new", m / "config.json")),
         "config.json"),
        (lambda m: (m / "more.json").write_text("{}"), "more.json"),
        (lambda m: (m.rename(m.parent / "old"), shutil.copytree(m.parent / "old", m)), "README.md"),
        (lambda m: [m.rename(m.parent / "old"), (m.parent / "old").rename(m)], "the folder"),
    ],
)  # fmt: skip
def test_what_is_changed_while_it_is_loaded_is_told(model: Path, change: Spoil, name: str) -> None:
    """Also when the bytes are the same again: what was read in between is not known."""
    (model / "README.md").write_text("a card")
    write_sums(model)
    told = f"{name}: was changed while the model was loaded; load it again"
    with pytest.raises(ConfigError, match=told), verified(model):
        change(model)
    write_sums(model)
    with verified(model) as sums:
        assert sums is not None


@pytest.mark.parametrize("name", ["junction", "home"])
def test_what_ships_is_as_its_list_says(name: str) -> None:
    """And nothing else lies there."""
    assert verify(folder_of(f"shipped:{name}")) is not None
    assert verify(SHIPPED) is not None


def test_no_file_of_a_model_that_serves_is_mapped(model: Path) -> None:
    """Else who writes into one changes the model unseen, and who cuts it short ends the worker."""
    knowledge_of(config_of(model)).save(model, digest(model))
    served = serve(model, "cpu", "fp32")
    assert served.knowledge is not None
    assert str(model) not in Path("/proc/self/maps").read_text()


def test_names_that_fit_no_line_are_not_listed(model: Path) -> None:
    """A list that could be read in two ways is not written."""
    (model / "a\nb").write_text("{}")
    with pytest.raises(ConfigError, match=r"its name does not fit into SHA256SUMS; give it another"):
        write_sums(model)


def test_the_page_s_commands_make_what_is_trusted(model: Path) -> None:
    """Those of docs/security.md as they stand there: a list that was lost, a key, a signature."""
    text = (ROOT / "docs/security.md").read_text().partition("## Model files\n")[2].partition("\n## ")[0]
    commands = [line.strip().replace("MODEL", model.name) for line in text.splitlines() if line.startswith("    ")]
    made = (model / SUMS).read_bytes()
    assert len(commands) == 4
    (model / SUMS).unlink()
    for command in (commands[-1], *commands[:-1]):
        subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=model.parent, check=True, capture_output=True)
    assert sorted((model / SUMS).read_bytes().replace(b"  ./", b"  ").splitlines()) == sorted(made.splitlines())
    sums = verify(model, str(model.parent / "model.pub"))
    assert sums is not None
    assert sums.signed
